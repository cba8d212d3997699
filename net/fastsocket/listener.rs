// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Listening TCP sockets: primaries and local listeners.

use core::{
    net::SocketAddr,
    ptr::{self, addr_of, NonNull},
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{
    bindings,
    error::from_err_ptr,
    net::namespace::Namespace,
    prelude::*,
    sync::rcu,
    types::{ARef, AlwaysRefCounted, Opaque},
};

use crate::{group::Group, mark, slot::Slot, wait::WaitQueue};

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

    /// Is its accept queue empty? Any context.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: The pointer is valid; the field is written atomically.
        unsafe { ptr::read_volatile(addr_of!((*self.queue()).rskq_accept_head)) }.is_null()
    }

    /// Would a SYN be refused, because as many connections wait as the program wants? Any context.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        let sk = self.as_ptr();
        // SAFETY: The pointer is valid; the fields are written atomically.
        unsafe {
            ptr::read_volatile(addr_of!((*sk).sk_ack_backlog))
                > ptr::read_volatile(addr_of!((*sk).sk_max_ack_backlog))
        }
    }

    /// How many connections wait? Any context.
    pub(crate) fn queued(&self) -> u32 {
        // SAFETY: The pointer is valid; the field is written atomically.
        unsafe { ptr::read_volatile(addr_of!((*self.as_ptr()).sk_ack_backlog)) }
    }

    /// Returns the group that is attached to a primary, or null. Any context.
    pub(crate) fn group_ptr(&self) -> *const Group {
        // SAFETY: By the type invariants; the field is written atomically.
        unsafe { ptr::read_volatile(addr_of!((*self.queue()).fastsocket_data)).cast() }
    }

    /// Returns the group that is attached to a primary. Any context.
    pub(crate) fn group<'g>(&'g self, _guard: &'g rcu::Guard) -> Option<&'g Group> {
        // SAFETY: What is attached to a primary is a group, which is freed an RCU grace period after it was
        // detached.
        unsafe { self.group_ptr().as_ref() }
    }

    /// Is it in an SO_REUSEPORT group? Any context.
    pub(crate) fn is_in_reuseport_group(&self) -> bool {
        // SAFETY: The pointer is valid; the field is written atomically.
        !unsafe { ptr::read_volatile(addr_of!((*self.as_ptr()).sk_reuseport_cb)) }.is_null()
    }

    /// Returns the group of another spawned socket of its SO_REUSEPORT group. Any context.
    pub(crate) fn sibling<'g>(&self, _guard: &'g rcu::Guard) -> Option<&'g Group> {
        // SAFETY: By the type invariants, and because a group is freed after a grace period.
        unsafe {
            bindings::fastsocket_sibling(self.as_ptr())
                .cast::<Group>()
                .as_ref()
        }
    }

    /// May a SYN for this socket be given to another one? Any context, under RCU.
    #[inline]
    pub(crate) fn shares_with(&self, other: &Listener) -> bool {
        // SAFETY: By the type invariants of both.
        unsafe { bindings::fastsocket_shares(self.as_ptr(), other.as_ptr()) }
    }

    /// Returns the address that it is bound to; the scope is the device, if it is bound to one. Any
    /// context.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        let mut address = [0; mark::ADDRESS];
        // SAFETY: By the type invariants; there is room for any address.
        unsafe { bindings::fastsocket_address(self.as_ptr(), address.as_mut_ptr().cast()) };
        mark::parse(&address).ok()
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

    /// Does anybody wait at the socket itself? An answer that may be old. Any context.
    #[inline]
    pub(crate) fn has_waiter(&self, _guard: &rcu::Guard) -> bool {
        // SAFETY: The pointer is valid, and that of the wait queue under RCU.
        unsafe {
            let wq = ptr::read_volatile(addr_of!((*self.as_ptr()).__bindgen_anon_1.sk_wq));
            !wq.is_null() && WaitQueue::is_active_raw(wq)
        }
    }

    /// Takes a reference, unless the last one is gone already.
    pub(crate) fn try_hold(&self) -> Option<ARef<Self>> {
        // SAFETY: By the type invariants.
        if !unsafe { bindings::sock_tryhold(self.as_ptr()) } {
            return None;
        }
        // SAFETY: The count was raised for it.
        Some(unsafe { ARef::from_raw(NonNull::from(self)) })
    }

    /// Locks the socket. Process context; sleeps.
    pub(crate) fn lock(&self) -> Locked<'_> {
        // SAFETY: By the type invariants.
        unsafe { bindings::lock_sock(self.as_ptr()) };
        // INVARIANT: It was just locked.
        Locked {
            sk: self,
            release: true,
        }
    }

    /// Gives up what attaching a group took of the socket, which is released. Process context.
    pub(crate) fn detach(&self) {
        // SAFETY: By the type invariants; `fastsocket_attach()` was called for it.
        unsafe { bindings::fastsocket_detach(self.as_ptr()) };
    }

    /// Wakes one who waits exclusively, if a connection is there: the wake-up for it may have gone to a
    /// task that found another one first. Process context.
    pub(crate) fn pass_wake_on(&self) {
        if !self.is_empty() {
            // SAFETY: By the type invariants.
            unsafe { bindings::fastsocket_rewake(self.as_ptr()) };
        }
    }
}

/// A primary whose socket lock is held. What local listeners its slots have changes only under it.
///
/// # Invariants
///
/// The lock is held until this is dropped, which gives it up if `release`.
pub(crate) struct Locked<'a> {
    sk: &'a Listener,
    release: bool,
}

impl<'a> Locked<'a> {
    /// # Safety
    ///
    /// The lock must be held by the caller until the value is dropped.
    pub(crate) unsafe fn assume(sk: &'a Listener) -> Self {
        // INVARIANT: By the safety requirements.
        Self { sk, release: false }
    }

    /// The socket.
    pub(crate) fn socket(&self) -> &Listener {
        self.sk
    }

    /// How many connections may wait.
    fn backlog(&self) -> u32 {
        // SAFETY: The pointer is valid, and the field changes under the lock.
        unsafe { (*self.sk.as_ptr()).sk_max_ack_backlog }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if self.release {
            // SAFETY: By the type invariants.
            unsafe { bindings::release_sock(self.sk.as_ptr()) };
        }
    }
}

/// A local listener that nobody has stopped. It is stopped when this is dropped, and what waits there is
/// reset: [`push`](Self::push) first what is to live on.
///
/// # Invariants
///
/// `sk` is from `fastsocket_clone_listener()`, and its first reference is owned by this.
pub(crate) struct Local {
    sk: NonNull<Listener>,
}

// SAFETY: A socket belongs to no task.
unsafe impl Send for Local {}

impl Local {
    /// Makes a local listener of a primary, for a slot of its. Process context.
    ///
    /// # Safety
    ///
    /// The slot must stay valid for an RCU grace period after the local listener is stopped.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if the primary cannot have any, `ENOMEM`.
    pub(crate) unsafe fn new(lock: &Locked<'_>, slot: &Slot, queue: &WaitQueue) -> Result<Self> {
        let slot = ptr::from_ref(slot).cast_mut().cast();
        // SAFETY: The primary is locked; the rest is by the safety requirements.
        let sk = from_err_ptr(unsafe {
            bindings::fastsocket_clone_listener(lock.sk.as_ptr(), slot, queue.as_ptr())
        })?;
        // INVARIANT: It was just made.
        NonNull::new(sk.cast()).map(|sk| Self { sk }).ok_or(ENOMEM)
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::fastsocket_stop_listener(self.sk.as_ptr().cast()) };
    }
}

/// Where a slot keeps its local listener, for RCU readers to find.
///
/// # Invariants
///
/// `sk` is null or the pointer of a [`Local`] that this owns.
pub(crate) struct LocalCell {
    sk: AtomicPtr<Listener>,
}

impl LocalCell {
    pub(crate) const fn new() -> Self {
        // INVARIANT: It is null.
        Self {
            sk: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Returns the local listener. Any context.
    #[inline]
    pub(crate) fn get<'g>(&'g self, _guard: &'g rcu::Guard) -> Option<&'g Listener> {
        // SAFETY: By the type invariants, the guard, and those of `Listener`.
        unsafe { self.sk.load(Ordering::Acquire).as_ref() }
    }

    /// Puts another one there, or none.
    pub(crate) fn swap(&self, _lock: &Locked<'_>, local: Option<Local>) -> Option<Local> {
        let new = local.map_or(ptr::null_mut(), |local| {
            let local = core::mem::ManuallyDrop::new(local);
            local.sk.as_ptr()
        });
        // INVARIANT: What comes back was owned by this, and `new` by `local`.
        let old = self.sk.swap(new, Ordering::AcqRel);
        NonNull::new(old).map(|sk| Local { sk })
    }

    /// Gives the local listener, if there is one, the backlog of its primary.
    pub(crate) fn update_backlog(&self, lock: &Locked<'_>) {
        if let Some(local) = self.get(&rcu::Guard::new()) {
            // SAFETY: The pointer is valid; the field is read atomically.
            unsafe {
                ptr::write_volatile(
                    ptr::addr_of_mut!((*local.as_ptr()).sk_max_ack_backlog),
                    lock.backlog(),
                )
            };
        }
    }
}

impl Drop for LocalCell {
    fn drop(&mut self) {
        if let Some(sk) = NonNull::new(*self.sk.get_mut()) {
            // INVARIANT: It was owned by this.
            drop(Local { sk });
        }
    }
}

/// Moves some of what waits at a local listener to its primary, whose waiters are woken. Any context but
/// hardirq.
///
/// Returns how many connections were moved; those for which there was no memory stay.
pub(crate) fn push(local: &Listener, budget: u32) -> u32 {
    // SAFETY: Slots have local listeners only, and the reference keeps it.
    unsafe { bindings::fastsocket_push(local.as_ptr(), budget) }
}

/// Is nothing half open or queued at a local listener? Only two looks with a grace period between them
/// are to be believed. Any context.
pub(crate) fn is_dry(local: &Listener) -> bool {
    // SAFETY: As above.
    unsafe { bindings::fastsocket_is_dry(local.as_ptr()) }
}
