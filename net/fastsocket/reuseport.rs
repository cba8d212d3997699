// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! SO_REUSEPORT groups: sockets that share an address, and so may share their slots.
//!
//! Mainline chooses a member of such a group by a hash of the addresses, that is at random. If the
//! member has no slot on the CPU that received the SYN, but another member has, that one takes it: a
//! program whose workers have a socket each is served where its connections arrive, too. Where somebody
//! chooses on purpose, by a BPF program or `SO_INCOMING_CPU`, the choice stands.

use core::{
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    cpu::{self, CpuId},
    prelude::*,
    sync::{rcu, Arc, SpinLock},
};

use crate::{listener::Listener, slot::Slot};

/// How many slots on a CPU are compared, and how many are looked at for that: a softirq has no time for
/// all where there are hundreds.
const CHOICE: usize = 4;
const LOOKED_AT: usize = 16;

/// The slots of the members of a group, by CPU.
///
/// A member keeps it for as long as it is spawned. It may have left the group meanwhile, which is why a
/// look-up asks whether two sockets are in one.
///
/// # Invariants
///
/// Each pointer in a chain is null or points to a slot that stays valid for an RCU grace period after it
/// was removed.
pub(crate) struct Peers {
    chains: KVec<AtomicPtr<Slot>>,
}

impl Peers {
    /// Returns what a socket that is about to be spawned shares with other members of its group;
    /// [`None`] if it is in no group. Process context; sleeps.
    ///
    /// Nobody may spawn a socket of the group meanwhile.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn of(primary: &Listener) -> Result<Option<Arc<Self>>> {
        if !primary.is_in_reuseport_group() {
            return Ok(None);
        }
        let sibling = {
            let guard = rcu::Guard::new();
            primary
                .sibling(&guard)
                .and_then(|group| group.peers().cloned())
        };
        if sibling.is_some() {
            return Ok(sibling);
        }

        let mut chains = KVec::with_capacity(cpu::nr_cpu_ids() as usize, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..cpu::nr_cpu_ids() {
            chains.push(AtomicPtr::new(ptr::null_mut()), GFP_KERNEL_ACCOUNT)?;
        }
        // INVARIANT: All chains are empty.
        Ok(Some(Arc::new(Self { chains }, GFP_KERNEL_ACCOUNT)?))
    }

    /// Returns the local listener of another member that is to take a SYN that mainline has for
    /// `primary`. Softirq.
    ///
    /// Of several on this CPU, it is the one with the shortest queue among the first few. A worker that
    /// does not keep up, or is not there, gets nothing: it has a socket of its own, from which no other
    /// can take.
    #[inline]
    pub(crate) fn find<'g>(
        &'g self,
        cpu: CpuId,
        primary: &Listener,
        guard: &'g rcu::Guard,
    ) -> Option<&'g Listener> {
        Chain::of(self.chains.get(cpu.index())?, guard)
            .take(LOOKED_AT)
            .filter(|slot| !slot.is_loaded() && !slot.is_forsaken())
            .filter(|slot| primary.shares_with(slot.primary()))
            .filter_map(|slot| slot.for_syn(guard).ok())
            .take(CHOICE)
            .min_by_key(|local| local.queued())
    }

    /// Adds a slot.
    ///
    /// # Safety
    ///
    /// It must be in no other, and stay valid until an RCU grace period after it was removed.
    pub(crate) unsafe fn insert(&self, lock: &SpinLock<()>, slot: NonNull<Slot>) {
        // SAFETY: By the safety requirements.
        let new = unsafe { slot.as_ref() };
        let _writer = lock.lock();
        if let Some(chain) = self.chains.get(new.cpu().index()) {
            new.next_peer()
                .store(chain.load(Ordering::Relaxed), Ordering::Relaxed);
            // INVARIANT: By the safety requirements.
            chain.store(slot.as_ptr(), Ordering::Release);
        }
    }

    /// Removes a slot, if it is there. Readers may go on using it, and to find the next by it.
    pub(crate) fn remove(&self, lock: &SpinLock<()>, slot: &Slot) {
        let _writer = lock.lock();
        let mut link = self.chains.get(slot.cpu().index());
        while let Some(at) = link {
            let found = at.load(Ordering::Relaxed);
            if ptr::eq(found, slot) {
                let next = slot.next_peer().load(Ordering::Relaxed);
                at.store(next, Ordering::Release);
                return;
            }
            // SAFETY: By the type invariants; nothing is removed meanwhile.
            link = unsafe { found.as_ref() }.map(Slot::next_peer);
        }
    }
}

/// The slots of a chain.
struct Chain<'g> {
    at: *mut Slot,
    _guard: &'g rcu::Guard,
}

impl<'g> Chain<'g> {
    fn of(head: &'g AtomicPtr<Slot>, guard: &'g rcu::Guard) -> Self {
        Self {
            at: head.load(Ordering::Acquire),
            _guard: guard,
        }
    }
}

impl<'g> Iterator for Chain<'g> {
    type Item = &'g Slot;

    fn next(&mut self) -> Option<&'g Slot> {
        // SAFETY: By the invariants of `Peers`, and the guard.
        let slot = unsafe { self.at.as_ref() }?;
        self.at = slot.next_peer().load(Ordering::Acquire);
        Some(slot)
    }
}
