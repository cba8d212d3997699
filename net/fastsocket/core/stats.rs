// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Statistics: counters of each network namespace and CPU, in `/proc/net/fsocket_stats`,
//! `/proc/net/hash_stat` and `/proc/net/steer_stat`.

use kernel::{
    c_str,
    cpu::CpuId,
    net::{
        namespace::{per_net_key, Namespace, PerNet},
        proc,
    },
    percpu::SharedPerCpu,
    prelude::*,
    seq_file::{seq_print, SeqFile},
    sync::atomic::{Atomic, Relaxed},
    sync::rcu,
};

/// What is counted. Each counter only grows.
#[derive(Clone, Copy)]
pub(crate) enum Counter {
    /// Sockets made through the device.
    Socket,
    /// Listening sockets spawned.
    Listen,
    /// Of those, the ones that were marked, or are of a program that is.
    Marked,
    /// Of those, the ones that more than one task waits at.
    Shared,
    /// Slots made, each counted at its CPU.
    Slots,
    /// Connections accepted from the slot of the CPU that the caller runs on.
    AcceptLocal,
    /// Connections accepted from the socket's own queue.
    AcceptGlobal,
    /// Connections accepted from the slot of another CPU.
    AcceptForeign,
    /// Connections accepted from a slot by somebody who serves another CPU.
    Stolen,
    /// Connections moved from a slot to the socket's own queue.
    Pushed,
    /// Connections of a spawned socket that went into the slot of the CPU that received them.
    LookupLocal,
    /// SYNs for a spawned socket that another one of its SO_REUSEPORT group took.
    LookupPeer,
    /// Connections of a spawned socket that went into its own queue, though that CPU has a slot.
    LookupGlobal,
    /// Of those, the ones for which the slot has a consumer.
    Overflow,
    /// Connections that are bound to the listener's port in their CPU's list.
    BoundLocal,
    /// References that a CPU had to get of a counter that all share, or to put there.
    RefsShared,
    /// Connections put into their CPU's part of the established table.
    Home,
    /// Packets that found such a connection from another CPU.
    ForeignHit,
    /// Active connections for which the CPU had no port of its own left.
    PortsExhausted,
    /// Packets handed to the CPU that their port names.
    Delivered,
    /// Packets handed to the CPU where a task has last used the socket.
    Selected,
    /// Packets handed to the CPU that another module's rule has said.
    Ruled,
}

const COUNTERS: usize = Counter::Ruled as usize + 1;

/// The columns of `/proc/net/fsocket_stats`.
const FSOCKET_STATS: &[(&str, Counter)] = &[
    ("socket", Counter::Socket),
    ("listen", Counter::Listen),
    ("slots", Counter::Slots),
    ("accept_local", Counter::AcceptLocal),
    ("accept_global", Counter::AcceptGlobal),
    ("accept_foreign", Counter::AcceptForeign),
    ("stolen", Counter::Stolen),
    ("pushed", Counter::Pushed),
    ("marked", Counter::Marked),
    ("shared", Counter::Shared),
];

/// The columns of `/proc/net/hash_stat`.
const HASH_STAT: &[(&str, Counter)] = &[
    ("lookup_local", Counter::LookupLocal),
    ("lookup_peer", Counter::LookupPeer),
    ("lookup_global", Counter::LookupGlobal),
    ("overflow", Counter::Overflow),
    ("bound_local", Counter::BoundLocal),
    ("refs_shared", Counter::RefsShared),
    ("home", Counter::Home),
    ("foreign_hit", Counter::ForeignHit),
];

/// The columns of `/proc/net/steer_stat`.
const STEER_STAT: &[(&str, Counter)] = &[
    ("delivered", Counter::Delivered),
    ("exhausted", Counter::PortsExhausted),
    ("selected", Counter::Selected),
    ("ruled", Counter::Ruled),
];

/// The counters of one CPU. A CPU counts in its own only, but process and softirq may meet there.
type Counters = [Atomic<u64>; COUNTERS];

/// The counters of a network namespace.
pub(crate) struct Stats {
    counters: SharedPerCpu<Counters>,
}

per_net_key!(Stats);

impl PerNet for Stats {
    const PROC_FILES: &'static [proc::File<Self>] = &[
        proc::File::new(c_str!("fsocket_stats"), |s, _, m| s.show(m, FSOCKET_STATS)),
        proc::File::new(c_str!("hash_stat"), |s, _, m| s.show(m, HASH_STAT)),
        proc::File::new(c_str!("steer_stat"), |s, _, m| s.show(m, STEER_STAT)),
    ];

    fn new(_net: &Namespace) -> impl PinInit<Self, Error> {
        try_init!(Self {
            counters: SharedPerCpu::zeroed(GFP_KERNEL)?,
        }? Error)
    }
}

impl Stats {
    /// Counts one event on a CPU: the one that this runs on, unless a task was moved meanwhile. Any
    /// context.
    #[inline]
    pub(crate) fn count(net: &Namespace, cpu: CpuId, counter: Counter, guard: &rcu::Guard) {
        Self::add(net, cpu, counter, 1, guard);
    }

    /// Counts several events at once.
    #[inline]
    pub(crate) fn add(net: &Namespace, cpu: CpuId, counter: Counter, n: u64, guard: &rcu::Guard) {
        if let Some(stats) = Self::get(net, guard) {
            if let Some(cell) = stats.counters.on(cpu).get(counter as usize) {
                cell.fetch_add(n, Relaxed);
            }
        }
    }

    /// Writes a table: a line of names, one for each possible CPU, and the sums.
    fn show(&self, m: &SeqFile, columns: &[(&str, Counter)]) -> Result {
        let read = |cpu: &Counters, counter: Counter| {
            let cell = cpu.get(counter as usize);
            cell.map_or(0, |cell| cell.load(Relaxed))
        };

        seq_print!(m, "{:<6}", "cpu");
        for (name, _) in columns {
            seq_print!(m, " {name:>14}");
        }
        for (cpu, counters) in self.counters.iter() {
            seq_print!(m, "\n{:<6}", cpu.as_u32());
            for (_, counter) in columns {
                seq_print!(m, " {:>14}", read(counters, *counter));
            }
        }
        seq_print!(m, "\n{:<6}", "total");
        for (_, counter) in columns {
            let sum = |sum: u64, n| sum.wrapping_add(n);
            let total = self
                .counters
                .iter()
                .map(|(_, c)| read(c, *counter))
                .fold(0, sum);
            seq_print!(m, " {total:>14}");
        }
        seq_print!(m, "\n");
        Ok(())
    }
}
