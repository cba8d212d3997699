// SPDX-License-Identifier: GPL-2.0

//! loom's atomics: what the protocol takes for those of the processor.
//!
//! loom looks for another order of two accesses only if one is the last that was made to that variable. A thread
//! that loads it and stores it then hides from loom the load that another has made before. So each access
//! begins by one to a variable beside it, of a kind that loom takes for a conflict with all others. That is
//! relaxed, and orders nothing else.

use loom::sync::atomic;
pub(crate) use loom::sync::atomic::{fence, Ordering};

/// Not every kind of them has to do all.
macro_rules! atomic {
    ($name:ident, $value:ty) => {
        pub(crate) struct $name {
            beside: atomic::AtomicBool,
            value: atomic::$name,
        }

        #[allow(dead_code)]
        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self {
                    beside: atomic::AtomicBool::new(false),
                    value: atomic::$name::new(value),
                }
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                self.beside.swap(false, Ordering::Relaxed);
                self.value.load(order)
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                self.beside.swap(false, Ordering::Relaxed);
                self.value.store(value, order);
            }

            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                self.beside.swap(false, Ordering::Relaxed);
                self.value.swap(value, order)
            }

            pub(crate) fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.beside.swap(false, Ordering::Relaxed);
                self.value.compare_exchange(old, new, success, failure)
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU32, u32);
