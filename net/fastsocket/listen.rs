// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! The per-core listen tables: the slots that a SYN can be handed to, by CPU and primary.
//!
//! A CPU looks only into its own table, and only reads. Writers are rare: they hold
//! `State::tables_lock`, and free what they took out after an RCU grace period.

use core::{
    array,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{
    alloc::Flags,
    cpu::CpuId,
    percpu::PerCpu,
    prelude::*,
    sync::{rcu, SpinLock},
};

use crate::slot::Slot;

/// How many chains a table has. A host has few spawned listeners; this is a page of pointers at most.
const CHAINS: usize = 64;

/// What can be an entry of a [`Table`].
pub(crate) trait Node: Sized {
    /// What it is found by.
    fn key(&self) -> usize;
    /// The next entry of its chain; for the table only.
    fn next(&self) -> &AtomicPtr<Self>;
}

/// A hash table of entries that others own.
///
/// # Invariants
///
/// Each pointer in a chain is null or points to a valid `N` that stays valid for an RCU grace period
/// after it was removed.
pub(crate) struct Table<N> {
    chains: [AtomicPtr<N>; CHAINS],
}

impl<N: Node> Table<N> {
    fn new() -> Self {
        // INVARIANT: All chains are empty.
        Self {
            chains: array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// The chain of a key, which is an address: the low bits say nothing.
    fn chain_of(&self, key: usize) -> Option<&AtomicPtr<N>> {
        const GOLDEN: usize = 0x9e37_79b9_7f4a_7c15;

        let hash = (key >> 6).wrapping_mul(GOLDEN) >> (usize::BITS - CHAINS.ilog2());
        self.chains.get(hash)
    }

    /// Returns the entry of a key. Any context; does not call anything.
    #[inline]
    pub(crate) fn find<'g>(&'g self, key: usize, _guard: &'g rcu::Guard) -> Option<&'g N> {
        let mut at = self.chain_of(key)?.load(Ordering::Acquire);
        // SAFETY: By the type invariants, and the guard for as long as the reference lives.
        while let Some(node) = unsafe { at.as_ref() } {
            if node.key() == key {
                return Some(node);
            }
            at = node.next().load(Ordering::Acquire);
        }
        None
    }

    /// Adds an entry.
    ///
    /// # Safety
    ///
    /// The node must be in no table, and stay valid until a grace period after it was removed. No
    /// other writer may be at work.
    unsafe fn insert(&self, node: NonNull<N>) {
        // SAFETY: By the safety requirements.
        let new = unsafe { node.as_ref() };
        if let Some(chain) = self.chain_of(new.key()) {
            new.next()
                .store(chain.load(Ordering::Relaxed), Ordering::Relaxed);
            // INVARIANT: By the safety requirements.
            chain.store(node.as_ptr(), Ordering::Release);
        }
    }

    /// Removes an entry, if it is there. Readers may go on using it, and to find the next by it.
    ///
    /// No other writer may be at work.
    fn remove(&self, node: &N) {
        let mut link = self.chain_of(node.key());
        while let Some(at) = link {
            let found = at.load(Ordering::Relaxed);
            if ptr::eq(found, node) {
                at.store(node.next().load(Ordering::Relaxed), Ordering::Release);
                return;
            }
            // SAFETY: By the type invariants; nothing is removed meanwhile.
            link = unsafe { found.as_ref() }.map(N::next);
        }
    }
}

/// One table for each CPU.
pub(crate) struct Tables(PerCpu<Table<Slot>>);

impl Tables {
    /// Makes empty tables. Process context, may sleep.
    pub(crate) fn new(flags: Flags) -> Result<Self> {
        Ok(Self(PerCpu::new_with(flags, |_| Ok(Table::new()))?))
    }

    /// Returns the slot of a primary on a CPU, by the primary's address.
    #[inline]
    pub(crate) fn find<'g>(
        &'g self,
        cpu: CpuId,
        primary: usize,
        guard: &'g rcu::Guard,
    ) -> Option<&'g Slot> {
        self.0.on(cpu).find(primary, guard)
    }

    /// Adds a slot to the table of its CPU.
    ///
    /// # Safety
    ///
    /// The slot must be in no table, and stay valid until an RCU grace period after it was removed.
    pub(crate) unsafe fn insert(&self, lock: &SpinLock<()>, slot: NonNull<Slot>) {
        // SAFETY: By the safety requirements.
        let cpu = unsafe { slot.as_ref() }.cpu();
        let _writer = lock.lock();
        // SAFETY: By the safety requirements, and because of the lock.
        unsafe { self.0.on(cpu).insert(slot) };
    }

    /// Removes a slot from the table of its CPU, if it is there.
    pub(crate) fn remove(&self, lock: &SpinLock<()>, slot: &Slot) {
        let _writer = lock.lock();
        self.0.on(slot.cpu()).remove(slot);
    }
}

#[cfg(CONFIG_KUNIT)]
mod tests {
    use super::*;
    use kernel::{kunit_check, kunit_check_eq};

    struct Entry {
        key: usize,
        next: AtomicPtr<Entry>,
    }

    impl Node for Entry {
        fn key(&self) -> usize {
            self.key
        }
        fn next(&self) -> &AtomicPtr<Self> {
            &self.next
        }
    }

    fn entry(key: usize) -> Result<KBox<Entry>> {
        let next = AtomicPtr::new(ptr::null_mut());
        Ok(KBox::new(Entry { key, next }, GFP_KERNEL)?)
    }

    /// Finds what is there, of many keys that share chains, and nothing else.
    fn finds_what_was_inserted() -> Result {
        let table = Table::<Entry>::new();
        let guard = rcu::Guard::new();
        let mut all = KVec::new();
        drop(guard);
        for i in 1..200usize {
            all.push(entry(i * 64)?, GFP_KERNEL)?;
        }
        for e in all.iter() {
            // SAFETY: The entries outlive the table's last use, and this is the only writer.
            unsafe { table.insert(NonNull::from(&**e)) };
        }
        let guard = rcu::Guard::new();
        for e in all.iter() {
            kunit_check_eq!(table.find(e.key, &guard).map(|n| n.key), Some(e.key));
        }
        kunit_check!(table.find(64 * 200, &guard).is_none());
        kunit_check!(table.find(0, &guard).is_none());
        Ok(())
    }

    /// Takes out the first, the middle and the last of a chain, and leaves the others.
    fn removes_only_what_it_is_told() -> Result {
        let table = Table::<Entry>::new();
        let mut all = KVec::new();
        for i in 1..200usize {
            all.push(entry(i * 64)?, GFP_KERNEL)?;
        }
        for e in all.iter() {
            // SAFETY: The entries outlive the table's last use, and this is the only writer.
            unsafe { table.insert(NonNull::from(&**e)) };
        }
        for (i, e) in all.iter().enumerate() {
            if i % 3 != 0 {
                table.remove(e);
                // A second time does nothing.
                table.remove(e);
            }
        }
        let guard = rcu::Guard::new();
        for (i, e) in all.iter().enumerate() {
            kunit_check_eq!(table.find(e.key, &guard).is_some(), i % 3 == 0, "at {}", i);
        }
        Ok(())
    }

    /// Sockets come from a slab: their addresses are regular, the chains must still be short.
    fn spreads_addresses_of_a_slab() {
        let table = Table::<Entry>::new();
        let mut used = [false; CHAINS];
        for i in 0..CHAINS {
            let Some(chain) = table.chain_of(0xffff_8880_0123_0000 + i * 2432) else {
                kunit_check!(false, "a key has no chain");
                return;
            };
            for (j, c) in table.chains.iter().enumerate() {
                if ptr::eq(c, chain) {
                    if let Some(u) = used.get_mut(j) {
                        *u = true;
                    }
                }
            }
        }
        let count = used.iter().filter(|u| **u).count();
        kunit_check!(count >= CHAINS / 2, "{} keys in {} chains", CHAINS, count);
    }

    kernel::kunit_tests! { fastsocket_listen: [
        finds_what_was_inserted,
        removes_only_what_it_is_told,
        spreads_addresses_of_a_slab,
    ] }
}
