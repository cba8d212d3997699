// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Steering: which CPU the packets of a connection go to.
//!
//! Each packet that a device receives is shown to the rules, in order. The first one that has an opinion decides; if none
//! has, RPS does as ever.
//!
//! This room has no lock.

use kernel::{
    bindings, cpu::CpuId, error::to_result, net::namespace::Namespace, prelude::*, sync::rcu,
};

pub(crate) mod rfd;

/// What a TCP packet belongs to.
pub(crate) type Flow = bindings::fastsocket_flow;

/// Which CPU is to process a packet of this flow, if the rule has an opinion: one that is online. In softirq, so that the
/// answer is for the CPU that this runs on.
///
/// Packets of a connection that have the same answer stay in order. A rule whose answer changes from another CPU to this one
/// names this one for as long as packets that were handed to it wait here: see [`rfd`].
pub(crate) type Rule = fn(net: &Namespace, flow: &Flow, guard: &rcu::Guard) -> Option<CpuId>;

/// The rules, in the order in which they are asked.
const RULES: &[Rule] = &[rfd::steer];

/// # Safety
///
/// As `fastsocket_steer_ops.steer`.
unsafe extern "C" fn steer(net: *const bindings::net, flow: *const Flow) -> i32 {
    let guard = rcu::Guard::new();
    // SAFETY: By the safety requirements; its namespace and the packet stay until this has returned.
    let (net, flow) = unsafe { (Namespace::from_raw(net.cast_mut()), &*flow) };
    let cpu = RULES.iter().find_map(|rule| rule(net, flow, &guard));
    // CAST: There are not so many CPUs.
    cpu.map_or(-1, |cpu| cpu.as_u32() as i32)
}

struct Ops(bindings::fastsocket_steer_ops);

// SAFETY: It is only read.
unsafe impl Sync for Ops {}

static OPS: Ops = Ops(bindings::fastsocket_steer_ops {
    own_ports: Some(rfd::own_ports),
    exhausted: Some(rfd::exhausted),
    steer: Some(steer),
});

/// The hooks being connected, until this is dropped.
pub(crate) struct Registration(());

impl Registration {
    /// Connects the hooks. Process context; sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if others are connected.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The operations are static, and are unregistered by the drop.
        to_result(unsafe { bindings::fastsocket_steer_register(&OPS.0) })?;
        Ok(Self(()))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: It was registered.
        unsafe { bindings::fastsocket_steer_unregister() };
    }
}
