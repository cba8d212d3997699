// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2025 The Fastsocket authors.

//! Processors: their numbers, and which one this is.
//!
//! A [`CpuId`] is a number that is known to be that of a possible processor, so that whatever
//! exists once per possible processor can be found with it without a further check. Which there are
//! say the functions of [`cpumask`].
//!
//! C header: [`include/linux/cpumask.h`](srctree/include/linux/cpumask.h),
//! [`include/linux/smp.h`](srctree/include/linux/smp.h),
//! [`include/linux/topology.h`](srctree/include/linux/topology.h)

use crate::{bindings, cpumask};
use core::fmt;

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
    /// use kernel::{cpu::{self, CpuId}, cpumask};
    ///
    /// // This runs on some processor.
    /// assert!(cpumask::possible_cpus().count() >= 1);
    /// for cpu in cpumask::possible_cpus() {
    ///     assert_eq!(CpuId::from_u32(cpu.as_u32()), Some(cpu));
    ///     assert_eq!(CpuId::from_i32(cpu.into()), Some(cpu));
    /// }
    /// assert_eq!(CpuId::from_u32(cpu::nr_cpu_ids()), None);
    /// assert_eq!(CpuId::from_u32(u32::MAX), None);
    /// assert_eq!(CpuId::from_i32(-1), None);
    /// ```
    #[inline]
    pub fn from_u32(cpu: u32) -> Option<Self> {
        // INVARIANT: Just checked.
        cpumask::is_possible(cpu).then_some(Self(cpu))
    }

    /// Checks a number as C has it, where a negative one often stands for none.
    #[inline]
    pub fn from_i32(cpu: i32) -> Option<Self> {
        Self::from_u32(cpu.try_into().ok()?)
    }

    /// Takes a number as that of a possible processor.
    ///
    /// # Safety
    ///
    /// It must be one; any that the kernel reports as the current processor, or as that of a packet
    /// or a task, is.
    #[inline]
    pub const unsafe fn from_u32_unchecked(cpu: u32) -> Self {
        // INVARIANT: By the safety requirements.
        Self(cpu)
    }

    /// Returns the number.
    #[inline]
    pub const fn as_u32(&self) -> u32 {
        self.0
    }

    /// Returns the number as an index.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the number of the processor that this runs on, which may be wrong at once.
    ///
    /// Good enough for a hint, unless the task cannot move. Any context. A call to C code.
    #[inline]
    pub fn current() -> Self {
        // SAFETY: It can be called anywhere.
        // INVARIANT: A processor that runs is possible.
        Self(unsafe { bindings::raw_smp_processor_id() })
    }

    /// Returns the node that the processor is on. Any context. A call to C code.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{cpu::CpuId, cpumask};
    ///
    /// let node = CpuId::current().node();
    /// assert!(cpumask::possible_cpus().any(|cpu| cpu.node() == node));
    /// ```
    pub fn node(self) -> Node {
        // SAFETY: By the type invariants, the processor is possible.
        // CAST: The helper takes the number as C has it.
        Node(unsafe { bindings::cpu_to_node(self.0 as _) })
    }
}

impl From<CpuId> for u32 {
    fn from(cpu: CpuId) -> Self {
        cpu.0
    }
}

impl From<CpuId> for i32 {
    fn from(cpu: CpuId) -> Self {
        // CAST: There are fewer than `i32::MAX`.
        cpu.0 as i32
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
