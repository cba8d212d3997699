// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Listening TCP sockets.

use core::ptr::{self, addr_of, NonNull};
use kernel::{
    bindings,
    net::namespace::Namespace,
    sync::rcu,
    types::{AlwaysRefCounted, Opaque},
};

use super::stamp::Stamp;

/// A TCP socket that listens, or did.
///
/// # Invariants
///
/// It is a `struct tcp_sock` with a reference count, that is freed an RCU grace period after the last
/// reference has gone.
#[repr(transparent)]
pub(crate) struct Listener(Opaque<bindings::sock>);

// SAFETY: A socket belongs to no task.
unsafe impl Send for Listener {}

// SAFETY: What is read of it without its lock is read atomically.
unsafe impl Sync for Listener {}

// SAFETY: The functions are those of the reference count.
unsafe impl AlwaysRefCounted for Listener {
    fn inc_ref(&self) {
        // SAFETY: The reference shows that the count is not zero.
        unsafe { bindings::sock_hold(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference.
        unsafe { bindings::sock_put(obj.as_ptr().cast()) };
    }
}

impl Listener {
    /// # Safety
    ///
    /// The type invariants must hold for `'a`, by a reference or by RCU.
    pub(crate) unsafe fn from_raw<'a>(sk: *mut bindings::sock) -> &'a Self {
        // SAFETY: By the safety requirements.
        unsafe { &*sk.cast() }
    }

    pub(crate) fn as_ptr(&self) -> *mut bindings::sock {
        self.0.get()
    }

    fn queue(&self) -> *const bindings::request_sock_queue {
        let csk = self.as_ptr().cast::<bindings::inet_connection_sock>();
        // SAFETY: By the type invariants, it is embedded in a `struct inet_connection_sock`.
        unsafe { addr_of!((*csk).icsk_accept_queue) }
    }

    /// Is its own accept queue empty? Any context.
    ///
    /// What was moved there from a slot that was looked at before is seen.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: The pointer is valid; the field is written atomically.
        unsafe { ptr::read_volatile(addr_of!((*self.queue()).rskq_accept_head)) }.is_null()
    }

    /// When did the oldest in its own queue come? Process context.
    pub(crate) fn oldest(&self) -> Option<Stamp> {
        let mut stamp = 0;
        // SAFETY: By the type invariants; `stamp` is to be written.
        unsafe { bindings::fastsocket_oldest(self.as_ptr(), &mut stamp) }.then(|| stamp.into())
    }

    /// How many connections does the program want to wait? Any context.
    #[inline]
    pub(crate) fn backlog(&self) -> u32 {
        // SAFETY: The pointer is valid; the field is written atomically.
        unsafe { ptr::read_volatile(addr_of!((*self.as_ptr()).sk_max_ack_backlog)) }
    }

    /// How many connections wait in its own queue? Any context.
    pub(crate) fn queued(&self) -> u32 {
        // SAFETY: The pointer is valid; the field is written atomically.
        unsafe { ptr::read_volatile(addr_of!((*self.as_ptr()).sk_ack_backlog)) }
    }

    /// Returns what is attached to it, or null. Any context.
    pub(crate) fn slots(&self) -> *mut bindings::fastsocket_slots {
        // SAFETY: By the type invariants; the field is written atomically.
        unsafe { ptr::read_volatile(addr_of!((*self.queue()).fastsocket_slots)) }
    }

    /// Is it in an SO_REUSEPORT group? Any context.
    pub(crate) fn is_in_reuseport_group(&self) -> bool {
        // SAFETY: The pointer is valid; the field is written atomically.
        !unsafe { ptr::read_volatile(addr_of!((*self.as_ptr()).sk_reuseport_cb)) }.is_null()
    }

    /// May a segment for this socket be given to another one, which listens? Any context, under RCU.
    #[inline]
    pub(crate) fn shares_with(&self, other: &Listener) -> bool {
        // SAFETY: By the type invariants of both.
        unsafe { bindings::fastsocket_shares(self.as_ptr(), other.as_ptr()) }
    }

    /// Returns what is attached to another spawned socket of its SO_REUSEPORT group, or null. Any context, under
    /// RCU.
    pub(crate) fn sibling_slots(&self, _guard: &rcu::Guard) -> *mut bindings::fastsocket_slots {
        // SAFETY: By the type invariants.
        unsafe { bindings::fastsocket_sibling(self.as_ptr()) }
    }

    /// Does it listen? Any context.
    pub(crate) fn is_listening(&self) -> bool {
        // SAFETY: The pointer is valid; the field is written atomically.
        let state = unsafe { ptr::read_volatile(addr_of!((*self.as_ptr()).__sk_common.skc_state)) };
        u32::from(state) == bindings::TCP_LISTEN
    }

    /// The network namespace that it is in.
    pub(crate) fn net(&self) -> &Namespace {
        // SAFETY: A socket of a program holds a reference to its namespace.
        unsafe { Namespace::from_raw((*self.as_ptr()).__sk_common.skc_net.net) }
    }

    /// The wait queue of those who wait at the socket itself, or null. Any context, under RCU.
    #[inline]
    pub(crate) fn wait_queue(&self, _guard: &rcu::Guard) -> *mut bindings::socket_wq {
        // SAFETY: The pointer is valid; the field is written atomically.
        unsafe { ptr::read_volatile(addr_of!((*self.as_ptr()).__bindgen_anon_1.sk_wq)) }
    }

    /// Is its file one whose `accept(2)` waits? For a `poll` of that file.
    pub(crate) fn blocks(&self) -> bool {
        // SAFETY: A file that is polled is open, and so is its socket; the flags are written atomically.
        let flags = unsafe {
            let file = (*(*self.as_ptr()).sk_socket).file;
            ptr::read_volatile(addr_of!((*file).f_flags))
        };
        flags & bindings::O_NONBLOCK == 0
    }

    /// How long an `accept(2)` may wait, by the socket and the flags of its file, in jiffies: 0 not at all.
    pub(crate) fn timeout(&self, flags: i32) -> isize {
        // SAFETY: By the type invariants.
        unsafe { bindings::fastsocket_rcvtimeo(self.as_ptr(), flags) }
    }

    /// Locks the socket. Process context; sleeps.
    pub(crate) fn lock(&self) -> Locked<'_> {
        // SAFETY: By the type invariants.
        unsafe { bindings::lock_sock(self.as_ptr()) };
        // INVARIANT: It was just locked.
        Locked(self)
    }

    /// What is attached is about to go. Any context.
    pub(crate) fn detach(&self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::fastsocket_detach(self.as_ptr()) };
    }

    /// Wakes those who wait for so many connections. Any context.
    pub(crate) fn wake(&self, number: u32) {
        if let Some(number) = i32::try_from(number).ok().filter(|number| *number > 0) {
            // SAFETY: By the type invariants.
            unsafe { bindings::fastsocket_rewake(self.as_ptr(), number) };
        }
    }

    /// Wakes one who waits exclusively, if a connection is there: the wake-up for it may have gone to a
    /// task that found another one first. Process context.
    pub(crate) fn pass_wake_on(&self) {
        if !self.is_empty() {
            self.wake(1);
        }
    }
}

/// A socket whose lock is held, until this is dropped.
///
/// # Invariants
///
/// The lock is held.
pub(crate) struct Locked<'a>(&'a Listener);

impl Locked<'_> {
    /// Is it the lock of this socket?
    pub(crate) fn is_of(&self, socket: &Listener) -> bool {
        ptr::eq(self.0, socket)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::release_sock(self.0.as_ptr()) };
    }
}
