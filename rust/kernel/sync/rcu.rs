// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2025 The Fastsocket authors.

//! RCU: reading without a lock what others replace meanwhile.
//!
//! A reader holds a [`Guard`], and by it finds values through an [`RcuCell`]. An updater swaps
//! another value in, at any time, and gets the old one back as [`Retired`]: something that readers
//! may still look at, and that is dropped when all that could have seen it are done.
//!
//! Values are dropped by an RCU callback, which is code of the module that made them. **A module
//! that drops a [`Retired`] anywhere must call [`barrier`] before it goes**, after the last such
//! drop: a [`Barrier`] as the last field of the module's type does it.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)
//!
//! Reference: <https://docs.kernel.org/RCU/index.html>

use crate::{
    alloc::{AllocError, Flags, KBox},
    bindings,
    init::{InPlaceInit, PinInit},
    macros::pin_data,
    try_pin_init,
    types::Opaque,
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
    pin::Pin,
    ptr::NonNull,
    sync::atomic::{AtomicPtr, Ordering},
};

/// An RCU read-side critical section, which lasts until this is dropped.
///
/// Nothing may sleep while there is one. They may be nested.
///
/// # Invariants
///
/// An RCU read-side critical section lasts for as long as the guard, and was entered for it if
/// `entered`.
pub struct Guard {
    entered: bool,
    _not_send: PhantomData<*mut ()>,
}

impl Guard {
    /// Enters a critical section. Any context.
    #[inline]
    pub fn new() -> Self {
        // SAFETY: It can be called anywhere.
        unsafe { bindings::rcu_read_lock() };
        // INVARIANT: It was just entered.
        Self {
            entered: true,
            _not_send: PhantomData,
        }
    }

    /// Makes a guard where a critical section is known to last already, without a call.
    ///
    /// The network stack calls its receive path, for one, in a critical section.
    ///
    /// # Safety
    ///
    /// A critical section must have been entered, and not be left before the guard is dropped:
    /// `rcu_read_lock()` was called, or preemption, softirqs or interrupts are disabled.
    #[inline]
    pub const unsafe fn assume() -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            entered: false,
            _not_send: PhantomData,
        }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Guard {
    #[inline]
    fn drop(&mut self) {
        if self.entered {
            // SAFETY: By the type invariants, there was a call to `rcu_read_lock` to undo.
            unsafe { bindings::rcu_read_unlock() };
        }
    }
}

/// Waits until all critical sections that there are now have been left.
///
/// Process context only; it sleeps, for milliseconds or more. Not within a critical section.
pub fn synchronize() {
    // SAFETY: It can be called in process context; otherwise it complains, but does no harm.
    unsafe { bindings::synchronize_rcu() };
}

/// Waits until every value that was [`Retired`] and then dropped before is really gone.
///
/// Process context only; it sleeps. Not within a critical section.
pub fn barrier() {
    // SAFETY: It can be called in process context; otherwise it complains, but does no harm.
    unsafe { bindings::rcu_barrier() };
}

/// Calls [`barrier`] when dropped.
///
/// As the last field of the type that implements [`Module`](crate::Module), it does so when
/// everything else of the module was dropped.
pub struct Barrier;

impl Drop for Barrier {
    fn drop(&mut self) {
        barrier();
    }
}

/// What an [`RcuBox`] points to.
///
/// The value comes first, so that a pointer to it is one to the node.
#[pin_data]
#[repr(C)]
struct Node<T> {
    #[pin]
    value: T,
    head: Opaque<bindings::callback_head>,
}

/// An owned value that can be put into an [`RcuCell`].
///
/// # Invariants
///
/// `ptr` points to the value of a [`Node<T>`] in a [`KBox`] that this owns.
pub struct RcuBox<T: 'static> {
    ptr: NonNull<T>,
    _owns: PhantomData<T>,
}

// SAFETY: It owns a `T`.
unsafe impl<T: Send> Send for RcuBox<T> {}

// SAFETY: A shared reference gives shared references to a `T`.
unsafe impl<T: Sync> Sync for RcuBox<T> {}

impl<T> RcuBox<T> {
    /// Allocates memory for a value.
    pub fn new(value: T, flags: Flags) -> Result<Self, AllocError> {
        let node = KBox::new(
            Node {
                value,
                head: Opaque::uninit(),
            },
            flags,
        )?;
        // INVARIANT: The value is the first field of the node.
        Ok(Self {
            // SAFETY: A box is not null.
            ptr: unsafe { NonNull::new_unchecked(KBox::into_raw(node).cast()) },
            _owns: PhantomData,
        })
    }

    /// Allocates memory for a value, and initialises it there; it never moves.
    pub fn try_pin_init<E>(init: impl PinInit<T, E>, flags: Flags) -> Result<Self, E>
    where
        E: From<AllocError>,
    {
        let node = try_pin_init!(Node::<T> {
            value <- init,
            head: Opaque::uninit(),
        }? E);
        let node = KBox::try_pin_init(node, flags)?;
        // SAFETY: The value stays where it is until it is dropped.
        let node = KBox::into_raw(unsafe { Pin::into_inner_unchecked(node) });
        // INVARIANT: The value is the first field of the node.
        Ok(Self {
            // SAFETY: A box is not null.
            ptr: unsafe { NonNull::new_unchecked(node.cast()) },
            _owns: PhantomData,
        })
    }

    /// Gives up ownership, for a data structure that is not made of [`RcuCell`]s.
    pub fn into_raw(this: Self) -> NonNull<T> {
        ManuallyDrop::new(this).ptr
    }

    /// Takes ownership back.
    ///
    /// # Safety
    ///
    /// `ptr` must be from [`into_raw`](Self::into_raw), used for this once, and nobody else have
    /// it; if RCU readers could find it, a grace period must have passed since they no longer can.
    pub unsafe fn from_raw(ptr: NonNull<T>) -> Self {
        // INVARIANT: It was so when `into_raw` gave it away.
        Self {
            ptr,
            _owns: PhantomData,
        }
    }
}

impl<T> Deref for RcuBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants.
        unsafe { self.ptr.as_ref() }
    }
}

impl<T: Unpin> DerefMut for RcuBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariants.
        unsafe { self.ptr.as_mut() }
    }
}

impl<T> Drop for RcuBox<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, it is the pointer of a box, which this owns.
        drop(unsafe { KBox::from_raw(self.ptr.cast::<Node<T>>().as_ptr()) });
    }
}

/// A value that was taken from where RCU readers find it, but that they may still use.
///
/// When dropped, the value is dropped after a grace period, in a softirq or a kernel thread: the
/// `Drop` of a `T` must not sleep. That neither fails nor sleeps, and may be done in any context,
/// even with locks held. See the [module's documentation](self) for what a module owes before it
/// goes.
///
/// # Invariants
///
/// `ptr` points to the value of a [`Node<T>`] in a [`KBox`] that this owns, but for shared
/// references by RCU readers who entered their critical section before.
pub struct Retired<T: Send + Sync + 'static> {
    ptr: NonNull<T>,
    _owns: PhantomData<T>,
}

// SAFETY: It owns a `T` that is both.
unsafe impl<T: Send + Sync> Send for Retired<T> {}

// SAFETY: A shared reference gives shared references to a `T`.
unsafe impl<T: Send + Sync> Sync for Retired<T> {}

impl<T: Send + Sync> Retired<T> {
    /// Takes ownership of a value that RCU readers can no longer find.
    ///
    /// # Safety
    ///
    /// `ptr` must be from [`RcuBox::into_raw`], used for this once, and already be removed from
    /// wherever readers could find it.
    pub unsafe fn from_raw(ptr: NonNull<T>) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            ptr,
            _owns: PhantomData,
        }
    }

    /// Waits for a grace period, after which the value is the caller's alone.
    ///
    /// Process context only; it sleeps. Not within a critical section.
    pub fn synchronize(self) -> RcuBox<T> {
        let this = ManuallyDrop::new(self);
        synchronize();
        // SAFETY: By the type invariants, and since a grace period has passed.
        unsafe { RcuBox::from_raw(this.ptr) }
    }
}

impl<T: Send + Sync> Deref for Retired<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants, there are only shared references to it.
        unsafe { self.ptr.as_ref() }
    }
}

impl<T: Send + Sync> Drop for Retired<T> {
    fn drop(&mut self) {
        let node = self.ptr.cast::<Node<T>>().as_ptr();
        // SAFETY: By the type invariants, it points to a node.
        let head = Opaque::raw_get(unsafe { core::ptr::addr_of!((*node).head) });
        // SAFETY: The head is unused, and stays until the callback frees it with the node.
        unsafe { bindings::call_rcu(head, Some(free_node::<T>)) };
    }
}

/// The RCU callback that drops a node.
///
/// # Safety
///
/// `head` must be that of a `Node<T>` in a box that nobody uses any more.
unsafe extern "C" fn free_node<T>(head: *mut bindings::callback_head) {
    // SAFETY: The head is in a node; an `Opaque` is where its content is.
    let node = unsafe { crate::container_of!(head, Node<T>, head) };
    // SAFETY: A grace period has passed, so that the box is nobody else's.
    drop(unsafe { KBox::from_raw(node.cast_mut()) });
}

/// A place for a value, or none, that RCU readers look at while it is replaced.
///
/// Updaters need no lock: a replacement is one atomic exchange, and each value is given back just
/// once.
///
/// # Invariants
///
/// The pointer is null, or one from [`RcuBox::into_raw`] that this owns, but for shared references.
///
/// # Examples
///
/// ```
/// use core::sync::atomic::{AtomicU32, Ordering};
/// use kernel::sync::rcu::{self, RcuBox, RcuCell};
///
/// static DROPPED: AtomicU32 = AtomicU32::new(0);
///
/// struct Config(u32);
/// impl Drop for Config {
///     fn drop(&mut self) {
///         DROPPED.fetch_add(self.0, Ordering::Relaxed);
///     }
/// }
///
/// let cell = RcuCell::new(None);
/// assert!(cell.get(&rcu::Guard::new()).is_none());
///
/// let old = cell.swap(Some(RcuBox::new(Config(1), GFP_KERNEL)?));
/// assert!(old.is_none());
/// assert_eq!(cell.get(&rcu::Guard::new()).map(|c| c.0), Some(1));
///
/// // What a reader holds stays, even though it was replaced.
/// let guard = rcu::Guard::new();
/// let seen = cell.get(&guard);
/// let old = cell.swap(Some(RcuBox::new(Config(10), GFP_ATOMIC)?));
/// drop(old);
/// assert_eq!(seen.map(|c| c.0), Some(1));
/// drop(guard);
///
/// rcu::barrier();
/// assert_eq!(DROPPED.load(Ordering::Relaxed), 1);
///
/// // Or wait for the readers and have the value back.
/// let mut last = cell.swap(None).ok_or(EINVAL)?.synchronize();
/// assert_eq!(last.0, 10);
/// last.0 = 100;
/// drop(last);
/// assert_eq!(DROPPED.load(Ordering::Relaxed), 101);
/// # Ok::<(), Error>(())
/// ```
///
/// No reference lasts longer than the guard:
///
/// ```ignore
/// let seen = cell.get(&rcu::Guard::new()); // error: temporary value dropped while borrowed
/// assert!(seen.is_none());
/// ```
pub struct RcuCell<T: Send + Sync + 'static> {
    ptr: AtomicPtr<T>,
    _owns: PhantomData<RcuBox<T>>,
}

impl<T: Send + Sync> RcuCell<T> {
    /// Makes a cell.
    pub fn new(value: Option<RcuBox<T>>) -> Self {
        // INVARIANT: The pointer is as `into_ptr` makes it.
        Self {
            ptr: AtomicPtr::new(Self::into_ptr(value)),
            _owns: PhantomData,
        }
    }

    /// Makes a cell without a value, as for a `static`.
    pub const fn empty() -> Self {
        // INVARIANT: The pointer is null.
        Self {
            ptr: AtomicPtr::new(core::ptr::null_mut()),
            _owns: PhantomData,
        }
    }

    /// Returns the value, for as long as the guard lasts.
    ///
    /// Whatever was written to the value before it was put here is seen.
    #[inline]
    pub fn get<'g>(&'g self, _guard: &'g Guard) -> Option<&'g T> {
        let ptr = self.ptr.load(Ordering::Acquire);
        // SAFETY: By the type invariants. It may be replaced at once, but then is kept as `Retired`
        // until the critical section of the guard is left.
        unsafe { ptr.as_ref() }
    }

    /// Says whether there is a value, which may be wrong at once. Needs no guard.
    #[inline]
    pub fn is_some(&self) -> bool {
        !self.ptr.load(Ordering::Relaxed).is_null()
    }

    /// Puts another value here, or none, and returns what was here.
    ///
    /// Any context.
    pub fn swap(&self, value: Option<RcuBox<T>>) -> Option<Retired<T>> {
        // INVARIANT: The pointer is as `into_ptr` makes it; what is returned is no longer here.
        let old = self.ptr.swap(Self::into_ptr(value), Ordering::AcqRel);
        // SAFETY: By the type invariants it is from `into_raw`, and nobody else got it from here.
        NonNull::new(old).map(|ptr| unsafe { Retired::from_raw(ptr) })
    }

    /// Takes the value from a cell that nobody else can look at.
    ///
    /// There is nothing to wait for: no reader has a reference, since they borrow the cell.
    pub fn take(&mut self) -> Option<RcuBox<T>> {
        // INVARIANT: Null is left behind.
        let old = core::mem::replace(self.ptr.get_mut(), core::ptr::null_mut());
        // SAFETY: By the type invariants; there are no readers, as the reference is exclusive.
        NonNull::new(old).map(|ptr| unsafe { RcuBox::from_raw(ptr) })
    }

    fn into_ptr(value: Option<RcuBox<T>>) -> *mut T {
        value.map_or(core::ptr::null_mut(), |b| RcuBox::into_raw(b).as_ptr())
    }
}

impl<T: Send + Sync> Default for RcuCell<T> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<T: Send + Sync> Drop for RcuCell<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}
