// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Wait queues and timers of slots.

use core::{
    marker::PhantomPinned,
    ptr::{self, addr_of},
};
use kernel::{bindings, error::to_result, prelude::*, sync::LockClassKey, types::Opaque};

use crate::listener::Listener;

/// The class of a lock, as C wants it.
fn lock_class(key: &'static LockClassKey) -> *mut bindings::lock_class_key {
    // CAST: The type is transparent.
    ptr::from_ref(key).cast_mut().cast()
}

/// A wait queue, as a socket has one.
///
/// # Invariants
///
/// Once [`init`](Self::init) was called it is initialised, and does not move.
pub(crate) struct WaitQueue {
    wq: Opaque<bindings::socket_wq>,
    _pin: PhantomPinned,
}

impl WaitQueue {
    /// Makes room for one. Nothing but [`init`](Self::init) may be called before that was.
    pub(crate) const fn uninit() -> Self {
        Self {
            wq: Opaque::uninit(),
            _pin: PhantomPinned,
        }
    }

    /// Initialises it where it is.
    ///
    /// # Safety
    ///
    /// It must not move afterwards, and not be in use.
    pub(crate) unsafe fn init(&self) {
        let wq = self.wq.get();
        // SAFETY: Zeros are a valid value of all fields but the one that is initialised next.
        unsafe { wq.write_bytes(0, 1) };
        // SAFETY: It is not in use, and will not move.
        unsafe {
            bindings::__init_waitqueue_head(
                ptr::addr_of_mut!((*wq).wait),
                kernel::c_str!("fastsocket::slot").as_char_ptr(),
                lock_class(kernel::static_lock_class!()),
            )
        };
    }

    pub(crate) fn as_ptr(&self) -> *mut bindings::socket_wq {
        self.wq.get()
    }

    /// Does anybody wait? Without a barrier: an answer that may be old. Any context.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { Self::is_active_raw(self.wq.get()) }
    }

    /// [`is_active`](Self::is_active) of a wait queue of C.
    ///
    /// # Safety
    ///
    /// It must be a valid one.
    #[inline]
    pub(crate) unsafe fn is_active_raw(wq: *const bindings::socket_wq) -> bool {
        // SAFETY: It is a list head, whose address does not change.
        unsafe {
            let head = addr_of!((*wq).wait.head);
            let next = ptr::read_volatile(addr_of!((*head).next));
            !ptr::eq(next.cast_const(), head)
        }
    }

    /// Wakes those who wait for a connection, of those who wait exclusively one. Any context.
    ///
    /// Returns whether there was anybody.
    #[inline]
    pub(crate) fn wake(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { bindings::fastsocket_wake(self.wq.get()) }
    }

    /// Sleeps until `ready` or something happens that an `accept(2)` of `primary` waits for.
    ///
    /// `queue` is that of a slot that the caller serves; `timeout`, in jiffies, is what is left of it
    /// afterwards. Process context.
    ///
    /// # Errors
    ///
    /// As `accept(2)`: `EINVAL`, `ERESTARTSYS` or `EINTR`, `EAGAIN` if the time is over.
    pub(crate) fn wait<F: Fn() -> bool>(
        primary: &Listener,
        queue: Option<&WaitQueue>,
        timeout: &mut isize,
        ready: &F,
    ) -> Result {
        /// # Safety
        ///
        /// `data` must be a valid pointer to an `F`.
        unsafe extern "C" fn call<F: Fn() -> bool>(data: *mut core::ffi::c_void) -> bool {
            // SAFETY: By the safety requirements.
            unsafe { (*data.cast::<F>())() }
        }

        let queue = queue.map_or(ptr::null_mut(), WaitQueue::as_ptr);
        let data = ptr::from_ref(ready).cast_mut().cast();
        // SAFETY: The reference keeps the primary, and the slot's queue stays for as long as that.
        to_result(unsafe {
            bindings::fastsocket_wait(primary.as_ptr(), queue, timeout, Some(call::<F>), data)
        })
    }
}

/// A timer that calls a function of a [`Timer`]'s owner, in softirq.
///
/// # Invariants
///
/// Once [`init`](Self::init) was called it is initialised, and does not move.
pub(crate) struct Timer {
    timer: Opaque<bindings::timer_list>,
    _pin: PhantomPinned,
}

/// What a timer calls.
pub(crate) type Callback = unsafe extern "C" fn(*mut bindings::timer_list);

impl Timer {
    /// Makes room for one. Nothing but [`init`](Self::init) may be called before that was.
    pub(crate) const fn uninit() -> Self {
        Self {
            timer: Opaque::uninit(),
            _pin: PhantomPinned,
        }
    }

    /// Initialises it where it is, to fire on the CPU that it is armed on.
    ///
    /// # Safety
    ///
    /// It must not move afterwards, and not be in use. `callback` must be good to be called with a
    /// pointer to it until [`shut_down`](Self::shut_down) has returned.
    pub(crate) unsafe fn init(&self, callback: Callback) {
        // SAFETY: By the safety requirements.
        unsafe {
            bindings::init_timer_key(
                self.timer.get(),
                Some(callback),
                bindings::TIMER_PINNED,
                kernel::c_str!("fastsocket::slot").as_char_ptr(),
                lock_class(kernel::static_lock_class!()),
            )
        };
    }

    /// Lets it fire at the next tick, unless it will fire anyway. Any context.
    #[inline]
    pub(crate) fn arm(&self) {
        let timer = self.timer.get();
        // SAFETY: By the type invariants; the field is written atomically.
        if unsafe { ptr::read_volatile(addr_of!((*timer).entry.pprev)) }.is_null() {
            // SAFETY: By the type invariants; the symbol is that of C.
            unsafe {
                let now = ptr::read_volatile(addr_of!(bindings::jiffies));
                bindings::mod_timer(timer, now.wrapping_add(1));
            }
        }
    }

    /// Stops it for ever, and waits for its function. Process context.
    pub(crate) fn shut_down(&self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::timer_shutdown_sync(self.timer.get()) };
    }
}
