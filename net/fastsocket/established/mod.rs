// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! The established table: which connections are at home, in the part of their CPU.
//!
//! Where home is, and how a connection is found there, is in C, for each packet asks: see
//! `include/net/fastsocket_established.h`. Here is who is put there: a connection that begins on the CPU that its
//! client's port names, whichever side of it this is. One that begins elsewhere would make others write the lines of
//! that CPU; it is where it always was.
//!
//! This room has no lock.

use kernel::{
    bindings, cpu::CpuId, error::to_result, net::namespace::Namespace, prelude::*, sync::rcu,
};

use crate::core::stats::{Counter, Stats};

struct Ops(bindings::fastsocket_established_ops);

// SAFETY: It is only read.
unsafe impl Sync for Ops {}

static OPS: Ops = Ops(bindings::fastsocket_established_ops {
    home: Some(home),
    placed: Some(placed),
    foreign: Some(foreign),
});

/// The hooks being connected, until this is dropped. Who is at home then stays there, and is found.
pub(crate) struct Registration(());

impl Registration {
    /// Connects the hooks. Process context; sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if others are connected.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The operations are static, and are unregistered by the drop.
        to_result(unsafe { bindings::fastsocket_established_register(&OPS.0) })?;
        Ok(Self(()))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: It was registered.
        unsafe { bindings::fastsocket_established_unregister() };
    }
}

/// Counts one event here.
///
/// # Safety
///
/// To be called under RCU, or with softirqs disabled; the namespace must have a reference until this returns.
unsafe fn count(net: *const bindings::net, counter: Counter) {
    // SAFETY: By the safety requirements.
    let (net, guard) = unsafe { (Namespace::from_raw(net.cast_mut()), rcu::Guard::assume()) };
    Stats::count(net, CpuId::current(), counter, &guard);
}

/// # Safety
///
/// As `fastsocket_established_ops.home`.
unsafe extern "C" fn home(_net: *const bindings::net, cpu: u32) -> bool {
    CpuId::current().as_u32() == cpu
}

/// # Safety
///
/// As `fastsocket_established_ops.placed`.
unsafe extern "C" fn placed(net: *const bindings::net) {
    // SAFETY: By the safety requirements; softirqs are off.
    unsafe { count(net, Counter::Home) };
}

/// # Safety
///
/// As `fastsocket_established_ops.foreign`.
unsafe extern "C" fn foreign(net: *const bindings::net) {
    // SAFETY: By the safety requirements.
    unsafe { count(net, Counter::ForeignHit) };
}
