// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Spinlocks that tasks and softirqs share.
//!
//! While a task holds one, no softirq runs on its processor: one that wanted the lock would wait for ever.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h)

use super::lock::{Backend, Lock};
use crate::bindings;

/// A spinlock that may be taken by tasks and in softirqs, but not in hard interrupts.
///
/// # Examples
///
/// ```
/// use kernel::new_spinlock_bh;
///
/// let lock = KBox::pin_init(new_spinlock_bh!(1, "example"), GFP_KERNEL)?;
/// *lock.lock() += 1;
/// assert_eq!(*lock.lock(), 2);
/// # Ok::<(), Error>(())
/// ```
pub type SpinLockBh<T> = Lock<T, SpinLockBhBackend>;

/// Creates a [`SpinLockBh`] initialiser with the given name and a newly-created lock class.
#[macro_export]
macro_rules! new_spinlock_bh {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::sync::spinlock_bh::SpinLockBh::new(
            $inner, $crate::optional_name!($($name)?), $crate::static_lock_class!())
    };
}

/// The backend of a [`SpinLockBh`].
pub struct SpinLockBhBackend;

// SAFETY: The kernel's `spinlock_t` ensures mutual exclusion, and `relock` is the default one.
unsafe impl Backend for SpinLockBhBackend {
    type State = bindings::spinlock_t;
    type GuardState = ();

    unsafe fn init(
        ptr: *mut Self::State,
        name: *const crate::ffi::c_char,
        key: *mut bindings::lock_class_key,
    ) {
        // SAFETY: By the safety requirements.
        unsafe { bindings::__spin_lock_init(ptr, name, key) }
    }

    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: By the safety requirements.
        unsafe { bindings::spin_lock_bh(ptr) }
    }

    unsafe fn unlock(ptr: *mut Self::State, _guard_state: &Self::GuardState) {
        // SAFETY: By the safety requirements, the caller holds the lock.
        unsafe { bindings::spin_unlock_bh(ptr) }
    }
}
