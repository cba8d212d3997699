// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Where C enters: the functions that are called at the hooks.
//!
//! C header: [`include/net/fastsocket.h`](srctree/include/net/fastsocket.h)

use core::{
    ffi::{c_int, c_uint, c_void},
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{bindings, cpu::CpuId, error::to_result, prelude::*, sync::rcu, task::Task};

use crate::{
    accept,
    ffi::{AcceptCall, PollCall, SocketFile},
    group::Group,
    listener::{Listener, Locked},
    mark, poll,
    slot::{Slot, Unfit},
    stats::{Counter, Stats},
    trace, State,
};

/// What the hooks work on, while they are registered.
static STATE: AtomicPtr<State> = AtomicPtr::new(ptr::null_mut());

/// Returns what the hooks work on.
///
/// Its users run in a hook, or on behalf of an open device or a spawned socket: all of that is over
/// before the module goes.
///
/// # Errors
///
/// `ENODEV` while the module is not quite there.
pub(crate) fn state() -> Result<&'static State> {
    // SAFETY: It is null or stays until the hooks are unregistered, and see above.
    unsafe { STATE.load(Ordering::Acquire).as_ref() }.ok_or(ENODEV)
}

struct Ops(bindings::fastsocket_ops);

// SAFETY: It is only read.
unsafe impl Sync for Ops {}

static OPS: Ops = Ops(bindings::fastsocket_ops {
    owner: crate::THIS_MODULE.as_ptr(),
    syn: Some(syn),
    data_ready: Some(data_ready),
    accept: Some(on_accept),
    poll: Some(on_poll),
    changed: Some(changed),
    listen_stop: Some(listen_stop),
    listened: Some(listened),
    forked: Some(forked),
    left: Some(left),
    queued: Some(queued),
    release: Some(release),
});

/// The hooks being connected, until this is dropped.
pub(crate) struct Registration {
    state: Pin<KBox<State>>,
}

impl Registration {
    /// Connects the hooks. Process context; sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if others are connected.
    pub(crate) fn new(state: Pin<KBox<State>>) -> Result<Self> {
        STATE.store(ptr::from_ref(&*state).cast_mut(), Ordering::Release);
        // SAFETY: The operations are static, and are unregistered by the drop.
        to_result(unsafe { bindings::fastsocket_register(&OPS.0) })
            .inspect_err(|_| STATE.store(ptr::null_mut(), Ordering::Release))?;
        Ok(Self { state })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // No socket is spawned any more, so none are added; what they have bound meanwhile is let go by
        // the hooks.
        self.state.consumers.release();
        // SAFETY: It was registered.
        unsafe { bindings::fastsocket_unregister() };
        STATE.store(ptr::null_mut(), Ordering::Release);
    }
}

/// # Safety
///
/// As `fastsocket_ops.syn`.
unsafe extern "C" fn syn(
    group: *mut c_void,
    sk: *mut bindings::sock,
    cpu: c_uint,
) -> *mut bindings::sock {
    // SAFETY: The hook is called under RCU, for a listener that this keeps.
    let (guard, primary) = unsafe { (rcu::Guard::assume(), Listener::from_raw(sk)) };
    // SAFETY: It was attached to the listener, and is freed after a grace period only.
    let group = unsafe { &*group.cast::<Group>() };
    // SAFETY: It is the processor that this runs on.
    let cpu = unsafe { CpuId::new_unchecked(cpu) };

    let count = |counter| Stats::count(primary.net(), cpu, counter, &guard);
    let found = group.slot(cpu).map(|slot| slot.for_syn(&guard));
    if let Some(Ok(local)) = found {
        count(Counter::LookupLocal);
        return local.as_ptr();
    }

    let peers = group.peers();
    if let Some(local) = peers.and_then(|peers| peers.find(cpu, primary, &guard)) {
        count(Counter::LookupLocal);
        count(Counter::LookupPeer);
        return local.as_ptr();
    }

    if let Some(Err(why)) = found {
        count(Counter::LookupGlobal);
        if why == Unfit::Spills {
            trace::spilled(primary, cpu);
        }
    }
    sk
}

/// # Safety
///
/// As `fastsocket_ops.data_ready`.
unsafe extern "C" fn data_ready(slot: *mut c_void) {
    // SAFETY: It is what a local listener was made for, and the hook is called under RCU.
    unsafe { &*slot.cast::<Slot>() }.data_ready();
}

/// # Safety
///
/// As `fastsocket_ops.accept`.
unsafe extern "C" fn on_accept(
    group: *mut c_void,
    sock: *mut bindings::socket,
    newsock: *mut bindings::socket,
    arg: *mut bindings::proto_accept_arg,
) -> c_int {
    // SAFETY: It was attached to the socket, which stays during the call; so do the others.
    let (group, call) = unsafe {
        (
            &*group.cast::<Group>(),
            AcceptCall::from_raw(sock, newsock, arg),
        )
    };
    match accept::accept(group, &call) {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// As `fastsocket_ops.poll`.
unsafe extern "C" fn on_poll(
    group: *mut c_void,
    file: *mut bindings::file,
    sock: *mut bindings::socket,
    wait: *mut bindings::poll_table_struct,
) -> bool {
    // SAFETY: It was attached to the socket, which stays during the call; so do the others.
    let (group, call) = unsafe {
        (
            &*group.cast::<Group>(),
            PollCall::from_raw(file, sock, wait),
        )
    };
    poll::poll(group, &call)
}

/// # Safety
///
/// As `fastsocket_ops.changed`.
unsafe extern "C" fn changed(group: *mut c_void, option: bool) {
    // SAFETY: It was attached to the socket, which stays during the call.
    unsafe { &*group.cast::<Group>() }.changed(option);
}

/// # Safety
///
/// As `fastsocket_ops.listen_stop`.
unsafe extern "C" fn listen_stop(group: *mut c_void) {
    // SAFETY: It was attached to the socket, which stays during the call.
    let group = unsafe { &*group.cast::<Group>() };
    // SAFETY: The hook is called with the socket locked.
    let lock = unsafe { Locked::assume(group.primary()) };
    group.stop(&lock);
}

/// # Safety
///
/// As `fastsocket_ops.listened`.
unsafe extern "C" fn listened(sock: *mut bindings::socket) {
    // SAFETY: The hook is called for a TCP socket of a program, that stays open during the call.
    if let Some(file) = unsafe { SocketFile::borrow(sock) } {
        mark::listened(&file);
    }
}

/// # Safety
///
/// As `fastsocket_ops.forked`.
unsafe extern "C" fn forked(child: *mut bindings::task_struct) {
    // SAFETY: A task that has not run yet stays during the call; the type is transparent.
    let child = unsafe { &*child.cast::<Task>() };
    if let Ok(state) = state() {
        state.consumers.spare(child);
    }
}

/// # Safety
///
/// As `fastsocket_ops.left`.
unsafe extern "C" fn left() {
    if let Ok(state) = state() {
        state.consumers.forget(kernel::current!());
    }
}

/// # Safety
///
/// As `fastsocket_ops.queued`.
unsafe extern "C" fn queued(group: *mut c_void) -> u32 {
    // SAFETY: It was attached to a socket, and is freed after a grace period only.
    let (group, guard) = unsafe { (&*group.cast::<Group>(), rcu::Guard::assume()) };
    let queued = group.slots().map(|slot| slot.queued(&guard));
    queued.fold(0, u32::saturating_add)
}

/// # Safety
///
/// As `fastsocket_ops.release`.
unsafe extern "C" fn release(group: *mut c_void) {
    if let Some(group) = NonNull::new(group.cast::<Group>()) {
        // SAFETY: It was attached to the socket, which is gone.
        unsafe { Group::release(group) };
    }
}
