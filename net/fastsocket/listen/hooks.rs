// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Where C enters: the functions that are called at the hooks.
//!
//! C header: [`include/net/fastsocket.h`](srctree/include/net/fastsocket.h)

use core::{
    ffi::{c_int, c_uint},
    ptr::NonNull,
};
use kernel::{bindings, cpu::CpuId, error::to_result, prelude::*, sync::rcu};

use super::{
    accept,
    group::Group,
    listener::Listener,
    poll::{self, PollCall},
    queue::Connection,
    slot::Slot,
    spawn::Spawning,
};
use crate::core::state::Installed;

struct Ops(bindings::fastsocket_listen_ops);

// SAFETY: It is only read.
unsafe impl Sync for Ops {}

static OPS: Ops = Ops(bindings::fastsocket_listen_ops {
    owner: crate::THIS_MODULE.as_ptr(),
    unused: Some(unused),
    requests: Some(requests),
    is_full: Some(is_full),
    queue_add: Some(queue_add),
    queued: Some(queued),
    accept: Some(on_accept),
    poll_wait: Some(poll_wait),
    pending: Some(pending),
    select: Some(select),
    backlog: Some(backlog),
    listen_stop: Some(listen_stop),
    destroy: Some(destroy),
});

/// The hooks being connected, until this is dropped.
pub(crate) struct Registration {
    _spawning: Installed<Spawning>,
}

impl Registration {
    /// Connects the hooks. Process context; sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if others are connected, `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The module has let devices and `listen(2)` go when this is dropped.
        let spawning = unsafe { Spawning::install() }?;
        // SAFETY: The operations are static, and are unregistered by the drop.
        to_result(unsafe { bindings::fastsocket_listen_register(&OPS.0) })?;
        Ok(Self {
            _spawning: spawning,
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: It was registered; no socket is spawned any more, since each keeps the module.
        unsafe { bindings::fastsocket_listen_unregister() };
    }
}

/// Returns the group that a hook is called for.
///
/// # Safety
///
/// `slots` must be attached to a socket, and that be kept for `'a`, or be found under RCU.
unsafe fn group<'a>(slots: *mut bindings::fastsocket_slots) -> &'a Group {
    // SAFETY: By the safety requirements; a group is freed an RCU grace period after it was detached.
    unsafe { &*Group::from_raw(slots) }
}

/// # Safety
///
/// As `fastsocket_listen_ops.unused`.
unsafe extern "C" fn unused(slot: *mut bindings::fastsocket_slot) -> bool {
    let Some(slot) = NonNull::new(slot).map(Slot::from_raw) else {
        return false;
    };
    // SAFETY: The slot lives as long as its group, which counts its references as one.
    unsafe {
        let group = Group::from_raw(slot.as_ref().socket().slots());
        NonNull::new(group).is_some_and(|group| Group::unuse(group))
    }
}

/// # Safety
///
/// As `fastsocket_listen_ops.requests`.
unsafe extern "C" fn requests(slots: *mut bindings::fastsocket_slots, young: bool) -> c_int {
    // SAFETY: The caller keeps the listener.
    unsafe { group(slots) }.requests(young)
}

/// # Safety
///
/// As `fastsocket_listen_ops.is_full`.
unsafe extern "C" fn is_full(slots: *mut bindings::fastsocket_slots) -> bool {
    // SAFETY: The caller keeps the listener.
    unsafe { group(slots) }.is_full()
}

/// # Safety
///
/// As `fastsocket_listen_ops.queue_add`.
unsafe extern "C" fn queue_add(
    slots: *mut bindings::fastsocket_slots,
    req: *mut bindings::request_sock,
    child: *mut bindings::sock,
    cpu: c_int,
) -> bool {
    let (Some(req), Some(child)) = (NonNull::new(req), NonNull::new(child)) else {
        return false;
    };
    // SAFETY: The caller keeps the listener, has softirqs off, and gives the request away.
    let (group, guard, connection) = unsafe {
        (
            group(slots),
            rcu::Guard::assume(),
            Connection::from_raw(req),
        )
    };
    let cpu = CpuId::from_i32(cpu);
    // SAFETY: The caller has them from `inet_csk_reqsk_queue_add()`.
    match unsafe { group.admit(cpu, connection, child, &guard) } {
        Ok(()) => true,
        Err(connection) => {
            // It stays the caller's.
            let _ = connection.into_raw();
            false
        }
    }
}

/// # Safety
///
/// As `fastsocket_listen_ops.queued`.
unsafe extern "C" fn queued(slots: *mut bindings::fastsocket_slots, cpu: c_uint) {
    // SAFETY: The caller keeps the listener, and has softirqs off.
    let (group, guard) = unsafe { (group(slots), rcu::Guard::assume()) };
    if let Some(slot) = CpuId::from_u32(cpu).and_then(|cpu| group.slot(cpu)) {
        group.announce(slot, &guard);
    }
}

/// # Safety
///
/// As `fastsocket_listen_ops.accept`.
unsafe extern "C" fn on_accept(
    slots: *mut bindings::fastsocket_slots,
    flags: c_int,
) -> *mut bindings::request_sock {
    // SAFETY: The caller keeps the listener.
    match accept::accept(unsafe { group(slots) }, flags) {
        Ok(connection) => connection.into_raw(),
        Err(e) => e.to_ptr(),
    }
}

/// # Safety
///
/// As `fastsocket_listen_ops.poll_wait`.
unsafe extern "C" fn poll_wait(
    slots: *mut bindings::fastsocket_slots,
    file: *mut bindings::file,
    wait: *mut bindings::poll_table_struct,
) {
    // SAFETY: The caller keeps the listener and its file.
    let (group, call) = unsafe { (group(slots), PollCall::from_raw(file, wait)) };
    poll::register(group, &call);
}

/// # Safety
///
/// As `fastsocket_listen_ops.pending`.
unsafe extern "C" fn pending(slots: *mut bindings::fastsocket_slots) -> bool {
    // SAFETY: The caller keeps the listener.
    poll::has_some(unsafe { group(slots) })
}

/// # Safety
///
/// As `fastsocket_listen_ops.select`.
unsafe extern "C" fn select(
    slots: *mut bindings::fastsocket_slots,
    sk: *mut bindings::sock,
    cpu: c_uint,
) -> *mut bindings::sock {
    // SAFETY: The hook is called under RCU, and the processor is one that code runs on.
    let (group, guard, cpu) = unsafe {
        (
            group(slots),
            rcu::Guard::assume(),
            CpuId::from_u32_unchecked(cpu),
        )
    };
    group.select(cpu, &guard).map_or(sk, Listener::as_ptr)
}

/// # Safety
///
/// As `fastsocket_listen_ops.backlog`.
unsafe extern "C" fn backlog(slots: *mut bindings::fastsocket_slots) -> u32 {
    // SAFETY: The hook is called under RCU.
    unsafe { group(slots) }.queued()
}

/// # Safety
///
/// As `fastsocket_listen_ops.listen_stop`.
unsafe extern "C" fn listen_stop(slots: *mut bindings::fastsocket_slots) {
    // SAFETY: The caller keeps the listener.
    unsafe { group(slots) }.stop();
}

/// # Safety
///
/// As `fastsocket_listen_ops.destroy`.
unsafe extern "C" fn destroy(slots: *mut bindings::fastsocket_slots) -> bool {
    let group = NonNull::new(Group::from_raw(slots));
    // SAFETY: A socket is destroyed once.
    group.is_some_and(|group| unsafe { Group::destroy(group) })
}
