// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Atomic variables.
//!
//! A thin layer over those of [`core`], with the names of the kernel's. An order is a type: [`Full`] is
//! for what both reads and writes, and orders everything before against everything after, as do the
//! kernel's functions without a suffix. The others are those of the same names.
//!
//! C header: [`include/linux/atomic.h`](srctree/include/linux/atomic.h)
//!
//! Reference: `Documentation/atomic_t.txt`

use crate::{init::Zeroable, static_assert};
use core::{
    cell::UnsafeCell,
    mem::align_of,
    sync::atomic::{self, Ordering as Core},
};

/// Orders nothing.
pub struct Relaxed;

/// Orders what comes after a read after that.
pub struct Acquire;

/// Orders what comes before a write before that.
pub struct Release;

/// Orders what comes before it before what comes after it.
pub struct Full;

/// An order.
pub trait Ordering {
    #[doc(hidden)]
    const CORE: Core;
}

/// An order that a read can have.
pub trait AcquireOrRelaxed: Ordering {}

/// An order that a write can have.
pub trait ReleaseOrRelaxed: Ordering {}

impl Ordering for Relaxed {
    const CORE: Core = Core::Relaxed;
}
impl AcquireOrRelaxed for Relaxed {}
impl ReleaseOrRelaxed for Relaxed {}

impl Ordering for Acquire {
    const CORE: Core = Core::Acquire;
}
impl AcquireOrRelaxed for Acquire {}

impl Ordering for Release {
    const CORE: Core = Core::Release;
}
impl ReleaseOrRelaxed for Release {}

impl Ordering for Full {
    const CORE: Core = Core::SeqCst;
}

/// The order of a compare-and-exchange that finds another value: that of a read.
const fn of_failure(order: Core) -> Core {
    match order {
        Core::Release => Core::Relaxed,
        order => order,
    }
}

/// A type that an [`Atomic`] can hold.
///
/// # Safety
///
/// A value may be used by any task, whichever made it.
pub unsafe trait AtomicType: Copy {}

/// A variable that is read and written whole by any task.
///
/// # Examples
///
/// ```
/// use core::ptr;
/// use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed, Release};
///
/// let number = Atomic::<u32>::new(1);
/// assert_eq!(number.fetch_add(2, Full), 1);
/// number.fetch_sub(1, Relaxed);
/// assert_eq!(number.load(Acquire), 2);
/// assert_eq!(number.cmpxchg(1, 7, Full), Err(2));
/// assert_eq!(number.cmpxchg(2, 7, Release), Ok(2));
/// assert_eq!(number.xchg(u32::MAX, Relaxed), 7);
/// // It wraps around.
/// number.fetch_add(1, Relaxed);
/// assert_eq!(number.load(Relaxed), 0);
///
/// let flag = Atomic::<bool>::new(false);
/// flag.store(true, Release);
/// assert!(flag.load(Relaxed));
///
/// let mut value = 3;
/// let pointer = Atomic::<*mut u32>::new(ptr::null_mut());
/// assert!(pointer.xchg(&mut value, Full).is_null());
/// assert!(!pointer.load(Acquire).is_null());
/// ```
#[repr(transparent)]
pub struct Atomic<T: AtomicType>(UnsafeCell<T>);

// SAFETY: By the contract of `AtomicType`.
unsafe impl<T: AtomicType> Send for Atomic<T> {}

// SAFETY: By the contract of `AtomicType`; what shared references do is atomic.
unsafe impl<T: AtomicType> Sync for Atomic<T> {}

// SAFETY: It is represented as the `T` is.
unsafe impl<T: AtomicType + Zeroable> Zeroable for Atomic<T> {}

impl<T: AtomicType> Atomic<T> {
    /// Makes a variable.
    #[inline]
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Returns a reference to the value, which nobody else can use.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }

    /// Makes a reference of a pointer to a variable of C.
    ///
    /// # Safety
    ///
    /// It must be valid and aligned for `'a`, and all who use it meanwhile do so atomically.
    #[inline]
    pub unsafe fn from_ptr<'a>(ptr: *mut T) -> &'a Self {
        // SAFETY: `Self` is transparent, and the rest is by the safety requirements.
        unsafe { &*ptr.cast() }
    }
}

macro_rules! impl_atomic {
    ($({$($generics:tt)*})? $type:ty, $core:ty) => {
        // SAFETY: It is a plain value.
        unsafe impl$($($generics)*)? AtomicType for $type {}

        impl$($($generics)*)? Atomic<$type> {
            #[inline]
            fn core(&self) -> &$core {
                // SAFETY: The types have the same representation and alignment, and nothing uses the
                // value but by this.
                unsafe { <$core>::from_ptr(self.0.get()) }
            }

            /// Returns the value.
            #[inline]
            pub fn load<O: AcquireOrRelaxed>(&self, _: O) -> $type {
                self.core().load(O::CORE)
            }

            /// Writes a value.
            #[inline]
            pub fn store<O: ReleaseOrRelaxed>(&self, value: $type, _: O) {
                self.core().store(value, O::CORE)
            }

            /// Writes a value, and returns the one before.
            #[inline]
            pub fn xchg<O: Ordering>(&self, value: $type, _: O) -> $type {
                self.core().swap(value, O::CORE)
            }

            /// Writes a value if the one before is `old`. Returns that, as an error if it is another.
            #[inline]
            pub fn cmpxchg<O: Ordering>(&self, old: $type, new: $type, _: O) -> Result<$type, $type> {
                self.core().compare_exchange(old, new, O::CORE, of_failure(O::CORE))
            }
        }
    };
}

macro_rules! impl_atomic_number {
    ($($type:ty, $core:ty;)*) => {$(
        impl_atomic!($type, $core);
        static_assert!(align_of::<$type>() == align_of::<$core>());

        impl Atomic<$type> {
            /// Adds to the value, and returns the one before. It wraps around.
            #[inline]
            pub fn fetch_add<O: Ordering>(&self, value: $type, _: O) -> $type {
                self.core().fetch_add(value, O::CORE)
            }

            /// Subtracts from the value, and returns the one before. It wraps around.
            #[inline]
            pub fn fetch_sub<O: Ordering>(&self, value: $type, _: O) -> $type {
                self.core().fetch_sub(value, O::CORE)
            }

            /// Clears the bits that are not in `mask`, and returns the value before.
            #[inline]
            pub fn fetch_and<O: Ordering>(&self, mask: $type, _: O) -> $type {
                self.core().fetch_and(mask, O::CORE)
            }

            /// Sets the bits that are in `mask`, and returns the value before.
            #[inline]
            pub fn fetch_or<O: Ordering>(&self, mask: $type, _: O) -> $type {
                self.core().fetch_or(mask, O::CORE)
            }
        }
    )*};
}

impl_atomic!(bool, atomic::AtomicBool);
impl_atomic!({<T>} *mut T, atomic::AtomicPtr<T>);
impl_atomic_number! {
    i32, atomic::AtomicI32;
    u32, atomic::AtomicU32;
    u64, atomic::AtomicU64;
    usize, atomic::AtomicUsize;
}
