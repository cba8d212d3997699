// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2025 The Fastsocket authors.

//! RCU: reading without a lock what others replace meanwhile.
//!
//! A reader holds a [`Guard`], and by it finds values through an [`RcuCell`]. An updater puts another
//! value there, at any time; the old one is dropped when all readers that could have seen it are done.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)
//!
//! Reference: <https://docs.kernel.org/RCU/index.html>

use crate::{
    alloc::{AllocError, Flags, KBox},
    bindings,
    init::{InPlaceInit, PinInit},
    macros::pin_data,
    sync::atomic::{Acquire, Atomic, Full},
    try_pin_init,
    types::Opaque,
};
use core::{marker::PhantomData, mem::ManuallyDrop, ops::Deref, pin::Pin, ptr::NonNull};

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

/// Waits until every RCU callback that was queued before has run.
///
/// Process context only; it sleeps. Not within a critical section.
pub fn rcu_barrier() {
    // SAFETY: It can be called in process context; otherwise it complains, but does no harm.
    unsafe { bindings::rcu_barrier() };
}

/// Calls [`rcu_barrier`] when dropped.
///
/// As the last field of the type that implements [`Module`](crate::Module), and the first that its
/// `init` makes, it does so when everything else of the module was dropped.
pub struct Barrier;

impl Drop for Barrier {
    fn drop(&mut self) {
        rcu_barrier();
    }
}

/// A type whose values an RCU callback may drop.
///
/// That happens in a softirq or a kernel thread: the `Drop` must not sleep.
///
/// # Safety
///
/// The callback is code of the module that has the type. That must wait in [`rcu_barrier`] before it
/// goes, as a [`Barrier`] does, after the last value was retired. So the `Drop` must not retire any.
pub unsafe trait Retire: Send + Sync + 'static {}

/// What an [`Unshared`] points to.
///
/// The value comes first, so that a pointer to it is one to the node.
#[pin_data]
#[repr(C)]
struct Node<T> {
    #[pin]
    value: T,
    head: Opaque<bindings::callback_head>,
}

/// An owned value that no RCU reader can find: not yet, or no longer.
///
/// It has room for what RCU needs to drop it later, and can be put into an [`RcuCell`]. Dropped before
/// that, it is dropped at once.
///
/// # Invariants
///
/// `ptr` points to the value of a [`Node<T>`] in a [`KBox`] that this owns.
pub struct Unshared<T: 'static> {
    ptr: NonNull<T>,
    _owns: PhantomData<T>,
}

// SAFETY: It owns a `T`.
unsafe impl<T: Send> Send for Unshared<T> {}

// SAFETY: A shared reference gives shared references to a `T`.
unsafe impl<T: Sync> Sync for Unshared<T> {}

impl<T> Unshared<T> {
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

impl<T> Deref for Unshared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariants.
        unsafe { self.ptr.as_ref() }
    }
}

impl<T> Drop for Unshared<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, it is the pointer of a box, which this owns.
        drop(unsafe { KBox::from_raw(self.ptr.cast::<Node<T>>().as_ptr()) });
    }
}

/// Drops a value when all RCU readers that may still use it are done.
///
/// Neither fails nor sleeps. Any context, even with locks held.
///
/// # Safety
///
/// `ptr` must be from [`Unshared::into_raw`], used for this once, and be removed from wherever readers
/// could find it.
pub unsafe fn retire<T: Retire>(ptr: NonNull<T>) {
    let node = ptr.cast::<Node<T>>().as_ptr();
    // SAFETY: By the safety requirements, it points to a node.
    let head = Opaque::raw_get(unsafe { core::ptr::addr_of!((*node).head) });
    // SAFETY: The head is unused, and stays until the callback frees it with the node. By the contract of
    // `Retire`, that is before its code goes.
    unsafe { bindings::call_rcu(head, Some(free_node::<T>)) };
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
/// Updaters need no lock: a replacement is one atomic exchange.
///
/// # Invariants
///
/// The pointer is null, or one from [`Unshared::into_raw`] that this owns, but for shared references.
///
/// # Examples
///
/// ```
/// use kernel::sync::atomic::{Atomic, Relaxed};
/// use kernel::sync::rcu::{self, RcuCell, Retire, Unshared};
///
/// static DROPPED: Atomic<u32> = Atomic::new(0);
///
/// struct Config(u32);
/// impl Drop for Config {
///     fn drop(&mut self) {
///         DROPPED.fetch_add(self.0, Relaxed);
///     }
/// }
/// // SAFETY: This is no module, and does not go. The drop retires nothing.
/// unsafe impl Retire for Config {}
///
/// let cell = RcuCell::new(None);
/// assert!(cell.get(&rcu::Guard::new()).is_none());
///
/// cell.set(Some(Unshared::new(Config(1), GFP_KERNEL)?));
/// assert_eq!(cell.get(&rcu::Guard::new()).map(|c| c.0), Some(1));
///
/// // What a reader holds stays, even though it was replaced.
/// let guard = rcu::Guard::new();
/// let seen = cell.get(&guard);
/// cell.set(Some(Unshared::new(Config(10), GFP_ATOMIC)?));
/// assert_eq!(seen.map(|c| c.0), Some(1));
/// drop(guard);
///
/// rcu::rcu_barrier();
/// assert_eq!(DROPPED.load(Relaxed), 1);
///
/// // No reader has a reference to what is in a cell that goes.
/// drop(cell);
/// assert_eq!(DROPPED.load(Relaxed), 11);
/// # Ok::<(), Error>(())
/// ```
///
/// No reference lasts longer than the guard:
///
/// ```ignore
/// let seen = cell.get(&rcu::Guard::new()); // error: temporary value dropped while borrowed
/// assert!(seen.is_none());
/// ```
pub struct RcuCell<T: Retire> {
    ptr: Atomic<*mut T>,
    _owns: PhantomData<Unshared<T>>,
}

impl<T: Retire> RcuCell<T> {
    /// Makes a cell.
    pub fn new(value: Option<Unshared<T>>) -> Self {
        // INVARIANT: The pointer is as `into_ptr` makes it.
        Self {
            ptr: Atomic::new(Self::into_ptr(value)),
            _owns: PhantomData,
        }
    }

    /// Returns the value, for as long as the guard lasts.
    ///
    /// Whatever was written to the value before it was put here is seen.
    #[inline]
    pub fn get<'g>(&'g self, _guard: &'g Guard) -> Option<&'g T> {
        let ptr = self.ptr.load(Acquire);
        // SAFETY: By the type invariants. It may be replaced at once, but then it is not dropped before
        // the critical section of the guard is left.
        unsafe { ptr.as_ref() }
    }

    /// Puts another value here, or none. What was here is dropped when its readers are done.
    ///
    /// Any context.
    pub fn set(&self, value: Option<Unshared<T>>) {
        // INVARIANT: The pointer is as `into_ptr` makes it; the old one is no longer here.
        let old = self.ptr.xchg(Self::into_ptr(value), Full);
        if let Some(old) = NonNull::new(old) {
            // SAFETY: By the type invariants it is from `into_raw`, and nobody else got it from here.
            unsafe { retire(old) };
        }
    }

    fn into_ptr(value: Option<Unshared<T>>) -> *mut T {
        value.map_or(core::ptr::null_mut(), |b| Unshared::into_raw(b).as_ptr())
    }
}

impl<T: Retire> Drop for RcuCell<T> {
    fn drop(&mut self) {
        if let Some(ptr) = NonNull::new(*self.ptr.get_mut()) {
            // SAFETY: By the type invariants; there are no readers, as they borrow the cell.
            drop(unsafe { Unshared::from_raw(ptr) });
        }
    }
}
