// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! The slots of a socket: one for each CPU that somebody has served, which then stays.

use core::ptr::{self, NonNull};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    bindings,
    cpu::{self, CpuId},
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Full},
        rcu::Unshared,
    },
};

use super::slot::Slot;

/// The slots of a socket, by CPU.
///
/// # Invariants
///
/// Each is null or the pointer of an [`Unshared`] of a [`Slot`] that this owns, set once.
pub(crate) struct Slots(KVec<Atomic<*mut bindings::fastsocket_slot>>);

impl Slots {
    pub(crate) fn new() -> Result<Self> {
        let mut slots = KVec::with_capacity(cpu::nr_cpu_ids() as usize, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..cpu::nr_cpu_ids() {
            slots.push(Atomic::new(ptr::null_mut()), GFP_KERNEL_ACCOUNT)?;
        }
        // INVARIANT: All are null.
        Ok(Self(slots))
    }

    /// What C knows them by.
    pub(crate) fn head(&mut self, plain: bool) -> bindings::fastsocket_slots {
        bindings::fastsocket_slots {
            // CAST: An `Atomic` is a pointer in memory.
            slot: self.0.as_mut_ptr().cast(),
            plain,
            shards: ptr::null_mut(),
        }
    }

    #[inline]
    pub(crate) fn of(&self, cpu: CpuId) -> Option<&Slot> {
        Self::get(self.0.get(cpu.index())?)
    }

    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter().filter_map(Self::get)
    }

    #[inline]
    fn get(cell: &Atomic<*mut bindings::fastsocket_slot>) -> Option<&Slot> {
        let slot = NonNull::new(cell.load(Acquire))?;
        // SAFETY: By the type invariants.
        Some(unsafe { Slot::from_raw(slot).as_ref() })
    }

    /// Puts a slot in its place, unless there is one: then it is dropped. Returns the pointer to the new one.
    pub(crate) fn add(&self, slot: Unshared<Slot>) -> Option<NonNull<Slot>> {
        let cell = self.0.get(slot.cpu().index())?;
        let slot = Unshared::into_raw(slot);
        // INVARIANT: It was null.
        let res = cell.cmpxchg(ptr::null_mut(), slot.as_ptr().cast(), Full);
        if res.is_err() {
            // SAFETY: Nobody has found it.
            drop(unsafe { Unshared::from_raw(slot) });
            return None;
        }
        Some(slot)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        for slot in self.0.iter_mut() {
            if let Some(slot) = NonNull::new(*slot.get_mut()) {
                // SAFETY: By the type invariants; a group is dropped after a grace period.
                drop(unsafe { Unshared::from_raw(Slot::from_raw(slot)) });
            }
        }
    }
}
