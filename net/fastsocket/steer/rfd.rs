// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Receive flow deliver: the source port of an active connection names the CPU that opened it.
//!
//! Above the lowest bit, so many bits of the port as all possible CPUs need are the CPU's number. The lowest is not used:
//! `connect(2)` prefers ports of one parity and leaves the other to `bind(2)`. Among the ports of its parity that name its
//! CPU, each chooses as ever, from a place that nobody can foresee; if all are taken, it takes any.
//!
//! A packet that comes in for such a port is handed to the CPU that the port names, if the connection is at home there:
//! who else has that port, or only forwards it, is left alone.

use core::ops::Range;
use kernel::{
    bindings,
    cpu::{nr_cpu_ids, CpuId},
    cpumask::is_online,
    net::namespace::{per_net_key, Namespace, PerNet},
    percpu::SharedPerCpu,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        rcu,
    },
    time::msecs_to_jiffies,
};

use super::{Answer, Flow};
use crate::core::{
    clock,
    stats::{Counter, Stats},
};

/// Below so many ports of its own a CPU takes any: the choice would be too small to be a surprise.
const FEWEST_PORTS: u32 = 64;

/// Between two times that a CPU tries its own ports, when it had none left.
const PAUSE_MS: u32 = 100;

/// How many destinations a CPU tells apart when it has no ports left, of each parity: who goes elsewhere, or takes the
/// other ones, does not suffer.
const DESTINATIONS: usize = 16;

/// Ports in a distance of each other.
#[derive(Debug, PartialEq, Eq)]
struct Ports {
    first: u32,
    number: u32,
    step: u32,
}

/// Which CPU a port names, if so many CPUs are to be told apart, a power of two.
fn named(port: u32, cpus: u32) -> u32 {
    (port >> 1) & cpus.wrapping_sub(1)
}

/// Which ports of a range, and of the parity of its first, name a CPU.
fn own(range: Range<u32>, cpu: u32, cpus: u32) -> Option<Ports> {
    let step = cpus.checked_mul(2)?;
    let wanted = (cpu << 1) | (range.start & 1);
    let beyond = wanted.wrapping_sub(range.start) & step.wrapping_sub(1);
    let first = range.start.checked_add(beyond)?;
    let number = range.end.checked_sub(first)?.div_ceil(step.max(1));
    (number >= FEWEST_PORTS).then_some(Ports {
        first,
        number,
        step,
    })
}

/// When a CPU was last without a port of its own, by destination and parity.
type Stamps = [Atomic<u32>; 2 * DESTINATIONS];

/// In a network namespace: that of each CPU.
pub(crate) struct Exhausted {
    when: SharedPerCpu<Stamps>,
}

per_net_key!(Exhausted);

impl PerNet for Exhausted {
    fn new(_net: &Namespace) -> impl PinInit<Self, Error> {
        try_init!(Self {
            when: SharedPerCpu::zeroed(GFP_KERNEL)?,
        }? Error)
    }
}

impl Exhausted {
    fn stamp(&self, cpu: CpuId, destination: u32, port: u32) -> Option<&Atomic<u32>> {
        let parity = (port & 1) as usize * DESTINATIONS;
        let stamps = self.when.on(cpu).get(parity..)?;
        stamps.get(destination as usize % DESTINATIONS)
    }

    /// Has a CPU just been without a port of its own, of the parity of this one?
    fn is_now(&self, cpu: CpuId, destination: u32, port: u32) -> bool {
        let stamp = self.stamp(cpu, destination, port);
        let stamp = stamp.map_or(0, |stamp| stamp.load(Relaxed));
        // CAST: A time that is short.
        stamp != 0 && clock::now().wrapping_sub(stamp) < msecs_to_jiffies(PAUSE_MS) as u32
    }
}

/// Which ports of a range are to be tried first here. Any context; the answer is for the CPU that this runs on.
fn own_here(
    net: &Namespace,
    destination: u32,
    range: Range<u32>,
) -> Option<bindings::fastsocket_ports> {
    let guard = rcu::Guard::new();
    let cpu = CpuId::current();
    let cpus = nr_cpu_ids().checked_next_power_of_two()?;
    // All ports name the only one.
    if cpus == 1 || Exhausted::get(net, &guard)?.is_now(cpu, destination, range.start) {
        return None;
    }
    let own = own(range, cpu.as_u32(), cpus)?;
    Some(bindings::fastsocket_ports {
        first: own.first,
        end: own.first.checked_add(own.number.checked_mul(own.step)?)?,
        step: own.step,
        // As far from each other as they can be.
        perturb: (cpu.as_u32().checked_mul(256)?.checked_div(cpus)?) & 255,
        cpu: cpu.as_u32(),
    })
}

/// The rule: see [`super::Rule`].
pub(super) fn steer<'a>(
    net: &'a Namespace,
    flow: &Flow,
    _guard: &'a rcu::Guard,
) -> Option<Answer<'a>> {
    // The client's port is the higher one: the packet is for a server.
    if flow.dport <= flow.sport {
        return None;
    }
    let cpus = nr_cpu_ids().checked_next_power_of_two()?;
    let cpu = CpuId::from_u32(named(flow.dport.into(), cpus))?;
    // SAFETY: The namespace is there, as are the addresses of the flow; the guard is RCU's.
    if !is_online(cpu) || !unsafe { bindings::fastsocket_flow_is_home(net.as_ptr(), flow) } {
        return None;
    }
    Some(Answer {
        cpu,
        counter: Counter::Delivered,
        queues: false,
        handed: None,
    })
}

/// # Safety
///
/// As `fastsocket_steer_ops.own_ports`.
pub(super) unsafe extern "C" fn own_ports(
    net: *const bindings::net,
    destination: u32,
    low: u32,
    high: u32,
    ports: *mut bindings::fastsocket_ports,
) -> bool {
    // SAFETY: By the safety requirements.
    let net = unsafe { Namespace::from_raw(net.cast_mut()) };
    let Some(own) = own_here(net, destination, low..high) else {
        return false;
    };
    // SAFETY: By the safety requirements, it is to be filled in.
    unsafe { ports.write(own) };
    true
}

/// # Safety
///
/// As `fastsocket_steer_ops.exhausted`.
pub(super) unsafe extern "C" fn exhausted(
    net: *const bindings::net,
    destination: u32,
    ports: *const bindings::fastsocket_ports,
) {
    let guard = rcu::Guard::new();
    // SAFETY: By the safety requirements.
    let (net, ports) = unsafe { (Namespace::from_raw(net.cast_mut()), &*ports) };
    let Some(cpu) = CpuId::from_u32(ports.cpu) else {
        return;
    };
    Stats::count(net, cpu, Counter::PortsExhausted, &guard);
    let exhausted = Exhausted::get(net, &guard);
    let stamp = exhausted.and_then(|all| all.stamp(cpu, destination, ports.first));
    if let Some(stamp) = stamp {
        stamp.store(clock::now().max(1), Relaxed);
    }
}

#[kernel::macros::kunit_tests(fastsocket_rfd)]
mod tests {
    use super::*;

    /// Of any range, for any CPU: all ports that name it, and no others.
    #[test]
    fn own_ports_are_those_that_name_the_cpu() {
        for range in [
            32768..61000,
            1024..65536,
            40001..40100,
            7..4099,
            65000..65536,
        ] {
            for cpus in [1, 2, 4, 32, 64] {
                for cpu in 0..cpus {
                    let mut ports = range
                        .clone()
                        .filter(|port| port % 2 == range.start % 2 && named(*port, cpus) == cpu);
                    let expected = Ports {
                        first: ports.clone().next().unwrap_or(0),
                        // CAST: Fewer than there are ports.
                        number: ports.clone().count() as u32,
                        step: 2 * cpus,
                    };
                    let expected = (expected.number >= FEWEST_PORTS).then_some(expected);
                    assert_eq!(own(range.clone(), cpu, cpus), expected);
                    // The last is what the number says.
                    if let Some(ports_) = expected {
                        let last = ports_.first + (ports_.number - 1) * ports_.step;
                        assert_eq!(ports.next_back(), Some(last));
                    }
                }
            }
        }
    }

    #[test]
    fn a_cpu_with_few_ports_takes_any() {
        assert_eq!(own(40000..40200, 0, 2), None);
        assert_eq!(own(40000..40000, 0, 2), None);
        assert_eq!(own(0..0, 3, 4), None);
        assert_eq!(own(65535..65536, 3, 8192), None);
        assert!(own(32768..61000, 127, 128).is_some());
        assert_eq!(own(32768..61000, 255, 256), None);
    }
}
