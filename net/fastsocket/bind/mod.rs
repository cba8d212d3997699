// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Who is bound to the port of a spawned listener: its children, in a list for each CPU.
//!
//! The lists are in C, as is what bind(2) makes of them: see `include/net/fastsocket_bind.h`. Here is when a port has
//! them: as soon as its listener has a slot, which is when a second task may come.
//!
//! Called by the room of listeners. Its locks are under those of TCP's port buckets; bind() compares
//! sockets under them, as under those.

use kernel::{bindings, error::to_result, prelude::*};

/// Lets ports have such lists, from now on. Process context; sleeps.
pub(crate) fn enable() {
    // SAFETY: It can be called in process context.
    unsafe { bindings::fastsocket_bind_enable() };
}

/// Gives the port of a spawned socket such lists, unless it has. Process context; sleeps.
///
/// # Errors
///
/// `ENOMEM`: its children are bound as ever.
///
/// # Safety
///
/// `sk` must be a spawned socket that somebody keeps.
pub(crate) unsafe fn shard(sk: *mut bindings::sock) -> Result {
    // SAFETY: By the safety requirements.
    to_result(unsafe { bindings::fastsocket_shard_port(sk) })
}

/// Is a socket bound in such a list?
///
/// # Safety
///
/// `child` must be a TCP socket that is new, and that nobody else knows yet.
#[inline]
pub(crate) unsafe fn is_sharded(child: *mut bindings::sock) -> bool {
    let child = child.cast::<bindings::inet_connection_sock>();
    // SAFETY: By the safety requirements. The lowest bit is set if so.
    unsafe { (*child).icsk_bind2_hash as usize & 1 != 0 }
}
