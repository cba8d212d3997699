// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2025 The Fastsocket authors.

//! Processors: which there are, and which one this is.
//!
//! A [`CpuId`] is a number that is known to be that of a possible processor, so that whatever
//! exists once per possible processor can be found with it without a further check.
//!
//! Nothing here but [`CpuId::current_hint`] and [`CpuId::node`] is a call to C code.
//!
//! C header: [`include/linux/cpumask.h`](srctree/include/linux/cpumask.h),
//! [`include/linux/smp.h`](srctree/include/linux/smp.h),
//! [`include/linux/topology.h`](srctree/include/linux/topology.h)

use crate::bindings;
use core::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The number of a processor that is possible: there, or able to come up later.
///
/// # Invariants
///
/// The number is less than [`nr_cpu_ids()`], and its bit in the kernel's `cpu_possible_mask` is
/// set. Neither of the two changes after boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct CpuId(u32);

impl CpuId {
    /// Checks a number. Returns [`None`] if there can be no such processor.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::cpu::{self, CpuId};
    ///
    /// // This runs on some processor.
    /// assert!(cpu::possible_cpus().count() >= 1);
    /// for cpu in cpu::possible_cpus() {
    ///     assert_eq!(CpuId::new(cpu.get()), Some(cpu));
    /// }
    /// assert_eq!(CpuId::new(cpu::nr_cpu_ids()), None);
    /// assert_eq!(CpuId::new(u32::MAX), None);
    /// ```
    #[inline]
    pub fn new(cpu: u32) -> Option<Self> {
        // INVARIANT: Both conditions are checked.
        (cpu < nr_cpu_ids() && Mask::possible().has(cpu)).then_some(Self(cpu))
    }

    /// Takes a number as that of a possible processor.
    ///
    /// # Safety
    ///
    /// It must be one; any that the kernel reports as the current processor, or as that of a packet
    /// or a task, is.
    #[inline]
    pub const unsafe fn new_unchecked(cpu: u32) -> Self {
        // INVARIANT: By the safety requirements.
        Self(cpu)
    }

    /// Returns the number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Returns the number as an index.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the number of the processor that this runs on, which may be wrong at once.
    ///
    /// Good enough for a hint. Any context. A call to C code.
    #[inline]
    pub fn current_hint() -> Self {
        // SAFETY: It can be called anywhere.
        // INVARIANT: A processor that runs is possible.
        Self(unsafe { bindings::raw_smp_processor_id() })
    }

    /// Returns the node that the processor is on. Any context.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::cpu::{self, CpuId};
    ///
    /// let node = CpuId::current_hint().node();
    /// assert!(cpu::possible_cpus().any(|cpu| cpu.node() == node));
    /// ```
    pub fn node(self) -> Node {
        // SAFETY: By the type invariants, the processor is possible.
        // CAST: The helper takes the number as C has it.
        Node(unsafe { bindings::cpu_to_node(self.0 as _) })
    }
}

/// A NUMA node: processors that are near to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(i32);

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns one more than the highest number of a possible processor.
///
/// It is the same at all times after boot, and the size of a table that is indexed by
/// [`CpuId::index`]. There may be gaps: not every number below it is that of a possible processor.
#[inline]
pub fn nr_cpu_ids() -> u32 {
    #[cfg(all(CONFIG_SMP, not(CONFIG_FORCE_NR_CPUS)))]
    // SAFETY: It is only written before any Rust code runs.
    unsafe {
        bindings::nr_cpu_ids
    }
    #[cfg(not(all(CONFIG_SMP, not(CONFIG_FORCE_NR_CPUS))))]
    {
        bindings::NR_CPUS
    }
}

/// One of the kernel's masks of processors.
///
/// # Invariants
///
/// The pointer is to a bitmap of at least [`nr_cpu_ids()`] bits that is there forever, and only
/// changes by atomic operations.
#[derive(Clone, Copy)]
struct Mask(*const AtomicUsize);

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
        word.load(Ordering::Relaxed) & (1 << bit) != 0
    }
}

/// An iterator over processors, in rising order.
///
/// A type of its own rather than a chain of adapters, the names of which would be too long for the
/// kernel's symbol table.
#[derive(Clone)]
pub struct Cpus {
    mask: Mask,
    next: u32,
}

impl Iterator for Cpus {
    type Item = CpuId;

    #[inline]
    fn next(&mut self) -> Option<CpuId> {
        while self.next < nr_cpu_ids() {
            let cpu = self.next;
            self.next += 1;
            if self.mask.has(cpu) {
                // INVARIANT: It is below `nr_cpu_ids`. What is in any of the masks is possible.
                return Some(CpuId(cpu));
            }
        }
        None
    }
}

/// Iterates over the possible processors, in rising order.
///
/// Any context.
#[inline]
pub fn possible_cpus() -> Cpus {
    Cpus {
        mask: Mask::possible(),
        next: 0,
    }
}

/// Says whether a processor is online at the moment.
#[inline]
pub fn is_online(cpu: CpuId) -> bool {
    Mask::online().has(cpu.0)
}
