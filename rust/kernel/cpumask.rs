// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2025 The Fastsocket authors.

//! Masks of processors: which are possible, and which are online.
//!
//! Nothing here is a call to C code. Any context.
//!
//! C header: [`include/linux/cpumask.h`](srctree/include/linux/cpumask.h)

use crate::{
    bindings,
    cpu::{nr_cpu_ids, CpuId},
    sync::atomic::{Atomic, Relaxed},
};

/// One of the kernel's masks of processors.
///
/// # Invariants
///
/// The pointer is to a bitmap of at least [`nr_cpu_ids()`] bits that is there forever, and only
/// changes by atomic operations.
struct Mask(*const Atomic<usize>);

impl Mask {
    #[inline]
    fn possible() -> Self {
        // INVARIANT: A `struct cpumask` is such a bitmap.
        Self(core::ptr::addr_of!(bindings::__cpu_possible_mask).cast())
    }

    #[inline]
    fn online() -> Self {
        // INVARIANT: A `struct cpumask` is such a bitmap.
        Self(core::ptr::addr_of!(bindings::__cpu_online_mask).cast())
    }

    /// Says whether the bit of `cpu` is set. There is none from [`nr_cpu_ids()`] on.
    #[inline]
    fn has(self, cpu: u32) -> bool {
        if cpu >= nr_cpu_ids() {
            return false;
        }
        let (word, bit) = (cpu / usize::BITS, cpu % usize::BITS);
        // SAFETY: By the type invariants, since `cpu` is below `nr_cpu_ids`.
        let word = unsafe { &*self.0.add(word as usize) };
        word.load(Relaxed) & (1 << bit) != 0
    }
}

/// Says whether there can be a processor of this number.
#[inline]
pub(crate) fn is_possible(cpu: u32) -> bool {
    Mask::possible().has(cpu)
}

/// Says whether a processor is online at the moment.
#[inline]
pub fn is_online(cpu: CpuId) -> bool {
    Mask::online().has(cpu.as_u32())
}

/// An iterator over the possible processors, in rising order.
///
/// A type of its own rather than a chain of adapters, the names of which would be too long for the
/// kernel's symbol table.
pub struct PossibleCpus {
    next: u32,
}

impl Iterator for PossibleCpus {
    type Item = CpuId;

    #[inline]
    fn next(&mut self) -> Option<CpuId> {
        while self.next < nr_cpu_ids() {
            let cpu = self.next;
            self.next += 1;
            if is_possible(cpu) {
                // SAFETY: It is possible.
                return Some(unsafe { CpuId::from_u32_unchecked(cpu) });
            }
        }
        None
    }
}

/// Iterates over the possible processors, in rising order.
#[inline]
pub fn possible_cpus() -> PossibleCpus {
    PossibleCpus { next: 0 }
}
