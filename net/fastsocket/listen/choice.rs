// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Which CPU is best for another worker of a socket.
//!
//! One that nobody serves, on which connections arrive, whose core has the fewest workers, and that was chosen least: in
//! this order. How many tasks serve it for other sockets, and who may run where, is known by the room that asks.

use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    cpu::{self, CpuId},
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

use super::slot::Slot;
use crate::placement::task;

/// What is known of a CPU.
struct Known {
    /// How often it was chosen, but for those that took the place of one that was gone.
    chosen: Atomic<u32>,
    /// The same of its core, at the first of its hardware threads.
    core: Atomic<u32>,
    /// It received connections, and had no slot.
    receives: Atomic<bool>,
}

/// How well a CPU is served: one who chooses takes the least.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Service {
    attended: bool,
    receives_nothing: bool,
    core: u32,
    chosen: u32,
}

/// What is known of all CPUs.
pub(crate) struct Choice(KVec<Known>);

impl Choice {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let mut cpus = KVec::with_capacity(cpu::nr_cpu_ids() as usize, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..cpu::nr_cpu_ids() {
            let new = Known {
                chosen: Atomic::new(0),
                core: Atomic::new(0),
                receives: Atomic::new(false),
            };
            cpus.push(new, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(Self(cpus))
    }

    fn core_of(&self, cpu: CpuId) -> Option<&Known> {
        self.0.get(task::core_of(cpu) as usize)
    }

    /// How well is a CPU served already, if this is its slot? Any context.
    pub(crate) fn service(&self, cpu: CpuId, slot: Option<&Slot>) -> Service {
        let known = self.0.get(cpu.index());
        let receives = known.is_some_and(|cpu| cpu.receives.load(Relaxed));
        Service {
            attended: slot.is_some_and(Slot::is_attended),
            receives_nothing: !receives && !slot.is_some_and(Slot::is_proven),
            core: self.core_of(cpu).map_or(0, |cpu| cpu.core.load(Relaxed)),
            chosen: known.map_or(0, |cpu| cpu.chosen.load(Relaxed)),
        }
    }

    /// A CPU was chosen: whoever chooses next sees it, before there is a consumer. Any context.
    pub(crate) fn note_chosen(&self, cpu: CpuId, slot: Option<&Slot>) {
        if slot.is_some_and(Slot::expect) {
            return;
        }
        if let Some(cpu) = self.0.get(cpu.index()) {
            cpu.chosen.fetch_add(1, Relaxed);
        }
        if let Some(cpu) = self.core_of(cpu) {
            cpu.core.fetch_add(1, Relaxed);
        }
    }

    /// A CPU that has no slot received a connection. Softirq.
    pub(crate) fn note_receives(&self, cpu: CpuId) {
        if let Some(cpu) = self.0.get(cpu.index()) {
            if !cpu.receives.load(Relaxed) {
                cpu.receives.store(true, Relaxed);
            }
        }
    }
}

#[kernel::macros::kunit_tests(fastsocket_choice)]
mod tests {
    use super::*;

    fn service(attended: bool, receives_nothing: bool, core: u32, chosen: u32) -> Service {
        Service {
            attended,
            receives_nothing,
            core,
            chosen,
        }
    }

    #[test]
    fn what_counts_comes_in_order() {
        // Nobody there goes before all else, and so on.
        assert!(service(false, true, 9, 9) < service(true, false, 0, 0));
        assert!(service(true, false, 9, 9) < service(true, true, 0, 0));
        assert!(service(true, false, 1, 9) < service(true, false, 2, 0));
        assert!(service(true, false, 1, 1) < service(true, false, 1, 2));
    }

    #[test]
    fn who_chooses_next_sees_it() -> Result {
        let choice = Choice::new()?;
        for cpu in kernel::cpumask::possible_cpus() {
            let before = choice.service(cpu, None);
            choice.note_chosen(cpu, None);
            assert!(before < choice.service(cpu, None));
        }
        Ok(())
    }

    #[test]
    fn who_receives_goes_first() -> Result {
        let choice = Choice::new()?;
        let cpu = CpuId::current();
        let before = choice.service(cpu, None);
        choice.note_receives(cpu);
        assert!(choice.service(cpu, None) < before);
        Ok(())
    }
}
