// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Wait queues and timers of slots.

use core::{
    marker::PhantomPinned,
    ptr::{self, addr_of},
};
use kernel::{
    bindings,
    cpu::CpuId,
    error::to_result,
    prelude::*,
    sync::{rcu, LockClassKey},
    types::Opaque,
};

use super::listener::Listener;

/// The class of a lock, as C wants it.
fn lock_class(key: &'static LockClassKey) -> *mut bindings::lock_class_key {
    // CAST: The type is transparent.
    ptr::from_ref(key).cast_mut().cast()
}

/// Whom a wake-up has reached: the last of these that is true.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Woken {
    /// No task that slept.
    Nobody,
    /// Tasks that do not serve the CPU that it was for, and have taken no connection yet.
    Other,
    /// A task that serves it, and has taken none yet.
    New,
    /// A task that serves another CPU, and has taken one.
    Helper,
    /// A task that serves it, and has.
    Server,
}

impl Woken {
    fn as_raw(self) -> bindings::fastsocket_woken {
        match self {
            Self::Nobody => bindings::fastsocket_woken_FASTSOCKET_WOKE_NOBODY,
            Self::Other => bindings::fastsocket_woken_FASTSOCKET_WOKE_OTHER,
            Self::New => bindings::fastsocket_woken_FASTSOCKET_WOKE_NEW,
            Self::Helper => bindings::fastsocket_woken_FASTSOCKET_WOKE_HELPER,
            Self::Server => bindings::fastsocket_woken_FASTSOCKET_WOKE_SERVER,
        }
    }

    fn from_raw(woken: bindings::fastsocket_woken) -> Self {
        [Self::Server, Self::Helper, Self::New, Self::Other]
            .into_iter()
            .find(|this| this.as_raw() == woken)
            .unwrap_or(Self::Nobody)
    }
}

/// A wait queue, as a socket has one.
///
/// # Invariants
///
/// It is initialised, and does not move.
#[pin_data]
pub(crate) struct WaitQueue {
    #[pin]
    wq: Opaque<bindings::socket_wq>,
    #[pin]
    _pin: PhantomPinned,
}

impl WaitQueue {
    pub(crate) fn new() -> impl PinInit<Self> {
        let init = |wq: *mut bindings::socket_wq| {
            // SAFETY: It is to be initialised, and will not move; zeros are a valid value of all fields but
            // the one that is initialised next.
            unsafe {
                wq.write_bytes(0, 1);
                bindings::__init_waitqueue_head(
                    ptr::addr_of_mut!((*wq).wait),
                    kernel::c_str!("fastsocket::slot").as_char_ptr(),
                    lock_class(kernel::static_lock_class!()),
                )
            };
        };
        pin_init!(Self {
            // INVARIANT: It is initialised here.
            wq <- Opaque::ffi_init(init),
            _pin: PhantomPinned,
        })
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

    /// # Safety
    ///
    /// It must be a valid wait queue.
    #[inline]
    unsafe fn is_active_raw(wq: *const bindings::socket_wq) -> bool {
        // SAFETY: It is a list head, whose address does not change.
        unsafe {
            let head = addr_of!((*wq).wait.head);
            let next = ptr::read_volatile(addr_of!((*head).next));
            !ptr::eq(next.cast_const(), head)
        }
    }

    /// Wakes those who wait for a connection of a CPU; of those who wait exclusively a few at most, until one is
    /// `enough`. Any context.
    #[inline]
    pub(crate) fn wake(&self, cpu: CpuId, enough: Woken) -> Woken {
        // SAFETY: By the type invariants.
        unsafe { Self::wake_raw(self.wq.get(), cpu, enough) }
    }

    /// Wakes those who wait at a socket itself, and of those who wait exclusively one. Any context.
    pub(crate) fn wake_at(socket: &Listener, cpu: CpuId, guard: &rcu::Guard) -> Woken {
        let wq = socket.wait_queue(guard);
        if wq.is_null() {
            return Woken::Nobody;
        }
        // SAFETY: It is valid under RCU.
        unsafe { Self::wake_raw(wq, cpu, Woken::Nobody) }
    }

    /// # Safety
    ///
    /// It must be a valid wait queue.
    #[inline]
    unsafe fn wake_raw(wq: *mut bindings::socket_wq, cpu: CpuId, enough: Woken) -> Woken {
        // SAFETY: By the safety requirements.
        let woken = unsafe { bindings::fastsocket_wake(wq, cpu.as_u32(), enough.as_raw()) };
        Woken::from_raw(woken)
    }

    /// Sleeps until `ready` or something happens that an `accept(2)` of a socket waits for.
    ///
    /// `queue` is that of a slot that the caller serves; `timeout`, in jiffies, is what is left of it
    /// afterwards. Process context.
    ///
    /// # Errors
    ///
    /// As `accept(2)`: `EINVAL`, `ERESTARTSYS` or `EINTR`, `EAGAIN` if the time is over.
    pub(crate) fn wait<F: Fn() -> bool>(
        socket: &Listener,
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
        // SAFETY: The reference keeps the socket, and the slot's queue stays for as long as that.
        to_result(unsafe {
            bindings::fastsocket_wait(socket.as_ptr(), queue, timeout, Some(call::<F>), data)
        })
    }
}

/// A timer that calls a function of a [`Timer`]'s owner, in softirq.
///
/// # Invariants
///
/// It is initialised, and does not move.
#[pin_data]
pub(crate) struct Timer {
    #[pin]
    timer: Opaque<bindings::timer_list>,
    #[pin]
    _pin: PhantomPinned,
}

/// What a timer calls.
pub(crate) type Callback = unsafe extern "C" fn(*mut bindings::timer_list);

impl Timer {
    /// Makes one that fires on the CPU that it is armed on.
    ///
    /// # Safety
    ///
    /// `callback` must be good to be called with a pointer to it until an RCU grace period after
    /// [`shut_down`](Self::shut_down).
    pub(crate) unsafe fn new(callback: Callback) -> impl PinInit<Self> {
        let init = move |timer| {
            // SAFETY: It is to be initialised, and will not move; the rest is by the safety requirements.
            unsafe {
                bindings::init_timer_key(
                    timer,
                    Some(callback),
                    bindings::TIMER_PINNED,
                    kernel::c_str!("fastsocket::slot").as_char_ptr(),
                    lock_class(kernel::static_lock_class!()),
                )
            };
        };
        pin_init!(Self {
            // INVARIANT: It is initialised here.
            timer <- Opaque::ffi_init(init),
            _pin: PhantomPinned,
        })
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

    /// Stops it for ever. Its function may still be running. Any context but hardirq.
    pub(crate) fn shut_down(&self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::timer_shutdown(self.timer.get()) };
    }
}
