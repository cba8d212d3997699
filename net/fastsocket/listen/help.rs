// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Who is to take a connection that was queued at a slot: one who serves it, or somebody who is idle.
//!
//! What a slot knows of those who serve it is in [`slot`](super::slot), and when others may take from it in
//! [`steal`](super::steal).

use core::ptr;
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    cpu::{self, CpuId},
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        rcu,
    },
};

use super::{
    protocol::{self, Helped as _, Queue as _},
    queue::Queue,
    slot::Slot,
    slots::Slots,
    stamp::Stamp,
    steal::{Called, LoadedCpus},
    trace,
    wait::{WaitQueue, Woken},
};
use crate::placement::task::TaskState;

/// How many slots are looked at to find an idle consumer, and how many of those are asked to help: each may wait for
/// something else. A softirq has no time for all where there are hundreds.
const LOOKED_AT: usize = 64;
const ASKED: usize = 4;

/// How many slots are looked at to find the connection that has waited longest.
const COMPARED: usize = 8;

/// Which slots of a socket need help, and who gives it.
pub(crate) struct Help {
    /// Of which CPUs the slots are loaded.
    loaded: LoadedCpus,
    /// Where the next idle consumer is looked for.
    next_idle: Atomic<u32>,
    /// Has anybody ever taken a connection? Then only who has is relied on.
    taken: Atomic<bool>,
    /// Somebody was woken to help since that was asked last.
    called: Atomic<bool>,
}

impl Help {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            loaded: LoadedCpus::new(GFP_KERNEL_ACCOUNT)?,
            next_idle: Atomic::new(0),
            taken: Atomic::new(false),
            called: Atomic::new(false),
        })
    }

    /// Is there no slot that others may take from? Any context.
    #[inline]
    pub(crate) fn none_is_loaded(&self) -> bool {
        self.loaded.is_empty()
    }

    /// Somebody has taken a connection.
    #[inline]
    pub(crate) fn note_taken(&self) {
        if !self.taken.load(Relaxed) {
            self.taken.store(true, Relaxed);
        }
    }

    /// Was somebody woken to help, and nobody has asked since?
    #[inline]
    pub(crate) fn take_call(&self) -> bool {
        let called = self.called.load(Relaxed);
        if called {
            self.called.store(false, Relaxed);
        }
        called
    }

    /// Will somebody whom a wake-up has reached help?
    ///
    /// Not who never took a connection, where others have: he may be registered and never accept.
    fn helps(&self, woken: Woken) -> bool {
        woken >= self.enough()
    }

    fn enough(&self) -> Woken {
        if self.taken.load(Relaxed) {
            Woken::Helper
        } else {
            Woken::Other
        }
    }

    #[inline]
    fn loaded<'a>(&'a self, slots: &'a Slots) -> impl Iterator<Item = &'a Slot> {
        self.loaded.iter().filter_map(|cpu| slots.of(cpu))
    }

    /// Returns the slots that others may take from, those of a NUMA node first. Any context.
    #[inline]
    pub(crate) fn loaded_near<'a>(
        &'a self,
        slots: &'a Slots,
        node: cpu::Node,
    ) -> impl Iterator<Item = &'a Slot> {
        [true, false].into_iter().flat_map(move |near| {
            self.loaded(slots)
                .filter(move |slot| (slot.node() == node) == near)
        })
    }

    /// Returns the slot where one has waited longer than `since`, by more than `much`, and for the longest: of the next few
    /// after a CPU's that are loaded. Any context but hardirq.
    pub(crate) fn overdue<'a>(
        &self,
        slots: &'a Slots,
        cpu: CpuId,
        mut since: Stamp,
        much: u32,
    ) -> Option<&'a Slot> {
        let side = |later: bool| {
            let cpus = self
                .loaded
                .iter()
                .filter(move |other| (*other > cpu) == later);
            cpus.filter_map(|cpu| slots.of(cpu))
        };
        let mut overdue = None;
        for slot in Iterator::chain(side(true), side(false)).take(COMPARED) {
            let oldest = slot.queue().oldest();
            if let Some(oldest) = oldest.filter(|oldest| oldest.is_long_before(since, much)) {
                (overdue, since) = (Some(slot), oldest);
            }
        }
        overdue
    }

    /// A connection was queued at a slot: wakes who is to take it. Softirq, or process context with BHs off.
    pub(crate) fn announce(&self, slots: &Slots, slot: &Slot, guard: &rcu::Guard) {
        let enough = slot.enough();
        let woken = slot.wake(enough);
        if slot.trusts(woken, enough) {
            return;
        }
        // Who is registered here, and serves elsewhere or nowhere, may not come.
        let others = woken != Woken::Nobody;
        if !others {
            if slot.leave(guard) {
                return;
            }
            match slot.consumer_state(guard) {
                TaskState::Gone | TaskState::Stopped => {
                    let pushed = slot.abandon();
                    return trace::migrated(slot.socket(), slot.cpu(), pushed);
                }
                TaskState::Waiting => slot.nobody_comes(),
                _ => {}
            }
        }
        self.call(slots, slot, others, guard);
    }

    /// Lets whoever is idle take from a slot, and wakes one; `told` is whether somebody who waits there was woken, and
    /// may have looked before that. Any context.
    pub(crate) fn call(&self, slots: &Slots, slot: &Slot, told: bool, guard: &rcu::Guard) {
        let call = Call {
            help: self,
            slots,
            slot,
            told,
            guard,
        };
        call.call();
    }

    /// Who was called did not come. Softirq.
    pub(crate) fn call_again(
        &self,
        slots: &Slots,
        slot: &Slot,
        called: Called,
        guard: &rcu::Guard,
    ) {
        match called {
            Called::All => {
                slot.set_all_busy(false);
                self.call(slots, slot, false, guard);
            }
            Called::Idle => {
                self.wake_idle(slots, slot, guard);
            }
        }
    }

    /// Wakes an idle consumer, if there is one among the next few, to take from a slot. Any context.
    ///
    /// One that does not come, since it waits for something else, is not the first to be asked again.
    fn wake_idle(&self, slots: &Slots, loaded: &Slot, guard: &rcu::Guard) -> bool {
        let from = self.next_idle.load(Relaxed);
        let side = |later: bool| {
            slots
                .iter()
                .filter(move |slot| (slot.cpu().as_u32() >= from) == later)
        };
        let few = || Iterator::chain(side(true), side(false)).take(LOOKED_AT);
        let woken = [true, false]
            .into_iter()
            .flat_map(|near| few().filter(move |slot| (slot.node() == loaded.node()) == near))
            .filter(|slot| !ptr::eq(*slot, loaded) && slot.is_idle(guard))
            .take(ASKED)
            .find(|slot| self.helps(slot.wake(self.enough())));
        if let Some(slot) = woken {
            let next = slot.cpu().as_u32().wrapping_add(1);
            self.next_idle.store(next, Relaxed);
        }
        woken.is_some()
    }

    /// The last connection was taken from a slot that was loaded. Any context.
    #[inline]
    pub(crate) fn calm(&self, slots: &Slots, slot: &Slot) {
        let call = Call {
            help: self,
            slots,
            slot,
            told: false,
            guard: &rcu::Guard::new(),
        };
        call.calm();
    }

    /// Somebody who was woken to help has done something else: wakes another, for each slot where something waits.
    /// Process context.
    pub(crate) fn pass_on(&self, slots: &Slots) {
        let guard = rcu::Guard::new();
        for slot in self.loaded(slots).filter(|slot| slot.has_some()) {
            self.call(slots, slot, false, &guard);
        }
    }
}

/// A call for help.
struct Call<'a> {
    help: &'a Help,
    slots: &'a Slots,
    slot: &'a Slot,
    told: bool,
    guard: &'a rcu::Guard,
}

impl protocol::Helped for Call<'_> {
    type Queue = Queue;

    fn queue(&self) -> &Queue {
        self.slot.queue()
    }

    fn set_loaded(&self, loaded: bool) {
        self.slot.set_loaded(loaded);
        self.help.loaded.set(self.slot.cpu(), loaded);
    }

    /// If all are busy, all will look before they sleep: there is no need to search again before the queue was empty.
    fn wake_one(&self) {
        let Self { help, slot, .. } = self;
        if !self.told && slot.are_all_busy() && slot.queue().length() > 1 {
            return;
        }
        let helps = (self.told && help.helps(slot.wake(help.enough())))
            || help.wake_idle(self.slots, slot, self.guard)
            || help.helps(WaitQueue::wake_at(slot.socket(), slot.cpu(), self.guard));
        slot.set_all_busy(!helps);
        if helps {
            help.called.store(true, Relaxed);
        }
    }
}
