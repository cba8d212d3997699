// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Steering: which CPU the packets of a connection go to.
//!
//! Each packet that a device receives is shown to the rules, in order. The first one that has an opinion decides; if none
//! has, RPS does as ever.
//!
//! This room has no lock; which rules are asked is for one task at a time to change.

use crate::{
    core::stats::{Counter, Stats},
    established, module_parameters as p,
};
use kernel::{
    bindings,
    cpu::CpuId,
    cpumask::is_online,
    error::to_result,
    net::namespace::{self, Namespace},
    prelude::*,
    sync::rcu,
};

pub(crate) mod rcs;
pub(crate) mod rfd;

/// What a TCP packet belongs to.
pub(crate) type Flow = bindings::fastsocket_flow;

/// What a rule says of a packet.
pub(crate) struct Answer<'a> {
    /// The CPU that is to process it, which is online.
    cpu: CpuId,
    /// Where it counts, if that is another one than this.
    counter: Counter,
    /// Whether it waits its turn if it is for this CPU: else it is processed at once, unless others wait. Who may name
    /// another one for the next packet of the connection queues, since a batch of packets is steered before any is processed.
    queues: bool,
    /// What is to know how far the queue of that CPU was.
    handed: Option<&'a rcs::Handed>,
}

/// Which CPU is to process a packet of this flow, if the rule has an opinion. In softirq, so that the answer is for the CPU
/// that this runs on.
///
/// Packets of a connection that have the same answer stay in order. A rule whose answer changes has to wait for what it has
/// handed to the last CPU, as [`rcs`] does.
pub(crate) type Rule =
    for<'a> fn(net: &'a Namespace, flow: &Flow, guard: &'a rcu::Guard) -> Option<Answer<'a>>;

/// The rules, in the order in which they are asked, and whether they are.
const RULES: &[(fn() -> bool, Rule)] = &[
    (|| p::enable_rps_framework.value() != 0, of_others),
    (|| p::enable_receive_flow_deliver.value() != 0, rfd::steer),
    (|| p::enable_receive_cpu_selection.value() != 0, rcs::steer),
];

/// Rules that are asked, and what they need, in the order in which it goes.
pub(crate) struct Steering {
    hooks: Option<Hooks>,
    users: Option<Pin<KBox<namespace::Registration<rcs::Users>>>>,
    delivering: Option<Delivering>,
}

/// What is there if active connections stay on their CPU, in the order in which it goes.
struct Delivering {
    _exhausted: Pin<KBox<namespace::Registration<rfd::Exhausted>>>,
    _established: established::Registration,
}

impl Delivering {
    fn new() -> Result<Self> {
        Ok(Self {
            _established: established::Registration::new()?,
            _exhausted: KBox::pin_init(namespace::Registration::new(), GFP_KERNEL)?,
        })
    }
}

impl Steering {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self {
            hooks: None,
            users: None,
            delivering: None,
        }
    }

    /// Asks the rules that the parameters say, and no others. Process context; sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: what was to be switched on is not. `EBUSY` if others are connected.
    pub(crate) fn update(&mut self) -> Result {
        let delivers = p::enable_receive_flow_deliver.value() != 0;
        let selects = p::enable_receive_cpu_selection.value() != 0;
        let any = RULES.iter().any(|(is_on, _)| is_on());

        if selects && self.users.is_none() {
            let users = namespace::Registration::new();
            self.users = Some(KBox::pin_init(users, GFP_KERNEL)?);
        }
        if delivers && self.delivering.is_none() {
            self.delivering = Some(Delivering::new()?);
        }
        match &self.hooks {
            None if any => self.hooks = Some(Hooks::new()?),
            Some(_) if !any => self.hooks = None,
            _ => {}
        }
        if let Some(hooks) = &self.hooks {
            hooks.learn(selects);
        }
        // Who is in a rule that goes has what it looks at until RCU says.
        if !selects {
            self.users = None;
        }
        if !delivers {
            self.delivering = None;
        }
        Ok(())
    }
}

/// The rules of other modules.
fn of_others<'a>(net: &'a Namespace, flow: &Flow, _guard: &'a rcu::Guard) -> Option<Answer<'a>> {
    // SAFETY: The namespace is there, as are the addresses of the flow; the guard is RCU's, and this a softirq.
    let cpu = unsafe { bindings::fastsocket_ask_rules(net.as_ptr(), flow) };
    let cpu = u32::try_from(cpu).ok().and_then(CpuId::from_u32)?;
    is_online(cpu).then_some(Answer {
        cpu,
        counter: Counter::Ruled,
        queues: true,
        handed: None,
    })
}

/// # Safety
///
/// As `fastsocket_steer_ops.steer`.
unsafe extern "C" fn steer(
    net: *const bindings::net,
    flow: *const Flow,
    rflow: *mut *mut bindings::rps_dev_flow,
) -> i32 {
    // SAFETY: It is called under RCU.
    let guard = unsafe { rcu::Guard::assume() };
    // SAFETY: By the safety requirements; its namespace and the packet stay until this has returned.
    let (net, flow) = unsafe { (Namespace::from_raw(net.cast_mut()), &*flow) };
    let mut asked = RULES.iter().filter(|(is_on, _)| is_on());
    let Some(answer) = asked.find_map(|(_, rule)| rule(net, flow, &guard)) else {
        return -1;
    };
    let here = CpuId::current();
    if answer.cpu != here {
        Stats::count(net, here, answer.counter, &guard);
    // SAFETY: This is a softirq.
    } else if !answer.queues && !unsafe { bindings::fastsocket_must_queue() } {
        return -1;
    }
    if let Some(handed) = answer.handed {
        // SAFETY: By the safety requirements.
        unsafe { *rflow = handed.as_ptr() };
    }
    // CAST: There are not so many CPUs.
    answer.cpu.as_u32() as i32
}

struct Ops(bindings::fastsocket_steer_ops);

// SAFETY: It is only read.
unsafe impl Sync for Ops {}

static OPS: Ops = Ops(bindings::fastsocket_steer_ops {
    own_ports: Some(rfd::own_ports),
    exhausted: Some(rfd::exhausted),
    steer: Some(steer),
    used: Some(rcs::used),
});

/// The hooks being connected, until this is dropped.
struct Hooks(());

impl Hooks {
    /// Connects the hooks. Process context; sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if others are connected.
    fn new() -> Result<Self> {
        // SAFETY: The operations are static, and are unregistered by the drop.
        to_result(unsafe { bindings::fastsocket_steer_register(&OPS.0) })?;
        Ok(Self(()))
    }

    /// Whether it is told where sockets are used. Process context; sleeps.
    fn learn(&self, uses: bool) {
        // SAFETY: The operations are registered.
        unsafe { bindings::fastsocket_steer_learn(uses) };
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        // SAFETY: It was registered.
        unsafe { bindings::fastsocket_steer_unregister() };
    }
}
