// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! SO_REUSEPORT groups: sockets that share an address, and so may share their slots.
//!
//! Mainline chooses a member of such a group by a hash of the addresses, that is at random. If the
//! member is not served on the CPU that received the SYN, but another member is, that one takes it: a
//! program whose workers have a socket each is served where its connections arrive, too. Where somebody
//! chooses on purpose, by a BPF program or `SO_INCOMING_CPU`, the choice stands, and where it falls on a
//! member that is not spawned.

use core::ptr::{self, NonNull};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    cpu::{self, CpuId},
    new_spinlock_bh,
    prelude::*,
    sync::atomic::{Acquire, Atomic, Relaxed, Release},
    sync::{rcu, spinlock_bh::SpinLockBh, Arc},
};

use super::{listener::Listener, protocol::Queue as _, slot::Slot};

/// How many slots on a CPU are compared, and how many are looked at for that: a softirq has no time for
/// all where there are hundreds.
const CHOICE: usize = 4;
const LOOKED_AT: usize = 16;

/// The slots of the members of a group, by CPU.
///
/// A member keeps it for as long as it is spawned. It may have left the group meanwhile, which is why a
/// look-up asks whether two sockets are in one. A chain is linked in both directions: who closes one of many
/// members does not walk over the others.
///
/// # Invariants
///
/// Each pointer in a chain is null or points to a slot that stays valid for an RCU grace period after it
/// was removed; what is in a chain changes under the lock. It keeps softirqs off, since a closing socket is
/// locked against them.
#[pin_data]
pub(crate) struct Peers {
    #[pin]
    changing: SpinLockBh<()>,
    chains: KVec<Atomic<*mut Slot>>,
}

impl Peers {
    /// Returns what a socket that is about to be spawned is to share with other members of its group, if it is
    /// the first that is spawned; [`None`] if it is in no group. Process context; sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn of(socket: &Listener) -> Result<Option<Arc<Self>>> {
        if !socket.is_in_reuseport_group() {
            return Ok(None);
        }

        let mut chains = KVec::with_capacity(cpu::nr_cpu_ids() as usize, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..cpu::nr_cpu_ids() {
            chains.push(Atomic::new(ptr::null_mut()), GFP_KERNEL_ACCOUNT)?;
        }
        // INVARIANT: All chains are empty.
        let new = pin_init!(Self {
            changing <- new_spinlock_bh!((), "fastsocket::peers"),
            chains,
        });
        Ok(Some(Arc::pin_init(new, GFP_KERNEL_ACCOUNT)?))
    }

    /// Returns the slot of another member that is to take a SYN that mainline has for `socket`. Any context.
    ///
    /// Of several on this CPU, it is the one with the shortest queue among the first few. A worker that
    /// does not keep up, or is not there, gets nothing: it has a socket of its own, from which no other
    /// can take.
    #[inline]
    pub(crate) fn find<'g>(
        &'g self,
        cpu: CpuId,
        socket: &Listener,
        guard: &'g rcu::Guard,
    ) -> Option<&'g Slot> {
        Chain::of(self.chains.get(cpu.index())?, guard)
            .take(LOOKED_AT)
            .filter(|slot| !slot.is_loaded() && !slot.is_unattended())
            .filter(|slot| socket.shares_with(slot.socket()))
            .filter(|slot| slot.admits().is_ok() && slot.is_soon(guard))
            .take(CHOICE)
            .min_by_key(|slot| slot.queue().length())
    }

    /// Adds a slot.
    ///
    /// # Safety
    ///
    /// It must be in no other, and stay valid until an RCU grace period after it was removed.
    pub(crate) unsafe fn insert(&self, slot: NonNull<Slot>) {
        // SAFETY: By the safety requirements.
        let new = unsafe { slot.as_ref() };
        let Some(first) = self.chains.get(new.cpu().index()) else {
            return;
        };
        let _changing = self.changing.lock();
        let next = first.load(Relaxed);
        new.link().next.store(next, Relaxed);
        // SAFETY: By the type invariants; nothing is removed meanwhile.
        if let Some(next) = unsafe { next.as_ref() } {
            let previous = &next.link().previous;
            previous.store(slot.as_ptr(), Relaxed);
        }
        // INVARIANT: By the safety requirements.
        first.store(slot.as_ptr(), Release);
    }

    /// Removes a slot, which was inserted. Readers may go on using it, and find the next by it.
    pub(crate) fn remove(&self, slot: &Slot) {
        let _changing = self.changing.lock();
        let (next, previous) = (
            slot.link().next.load(Relaxed),
            slot.link().previous.load(Relaxed),
        );
        // SAFETY: By the type invariants; nothing is removed meanwhile.
        let (after, before) = unsafe { (next.as_ref(), previous.as_ref()) };
        let at = before.map(|before| &before.link().next);
        if let Some(at) = at.or_else(|| self.chains.get(slot.cpu().index())) {
            at.store(next, Release);
        }
        if let Some(after) = after {
            after.link().previous.store(previous, Relaxed);
        }
    }
}

/// The slots of a chain.
struct Chain<'g> {
    at: *mut Slot,
    _guard: &'g rcu::Guard,
}

impl<'g> Chain<'g> {
    fn of(head: &'g Atomic<*mut Slot>, guard: &'g rcu::Guard) -> Self {
        Self {
            at: head.load(Acquire),
            _guard: guard,
        }
    }
}

impl<'g> Iterator for Chain<'g> {
    type Item = &'g Slot;

    fn next(&mut self) -> Option<&'g Slot> {
        // SAFETY: By the invariants of `Peers`, and the guard.
        let slot = unsafe { self.at.as_ref() }?;
        self.at = slot.link().next.load(Acquire);
        Some(slot)
    }
}
