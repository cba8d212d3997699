// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2025 The Fastsocket authors.

//! Per-CPU data.
//!
//! A [`SharedPerCpu<T>`] holds one `T` for each possible processor, each in memory of that processor's
//! own: on its node, and on no cache line that another processor's data is on. Finding one is an
//! addition to a table entry, and no call.
//!
//! Any processor may look at any `T`, so what changes in it has to be atomic, or behind a lock. The
//! gain is that as long as each mostly touches its own, nothing moves between them.
//!
//! C header: [`include/linux/percpu.h`](srctree/include/linux/percpu.h)

use crate::{
    alloc::{AllocError, Flags},
    bindings,
    cpu::CpuId,
    cpumask::possible_cpus,
    init::Zeroable,
};
use core::{
    marker::PhantomData,
    mem::{align_of, needs_drop, size_of},
    ptr::NonNull,
};

/// One `T` for each possible processor.
///
/// The values do not move, and are dropped with it. It is `PCPU_MIN_UNIT_SIZE` (32 KiB) that a `T`
/// can have at most, and per-CPU memory is scarce: keep big tables elsewhere, and pointers to them
/// here.
///
/// # Invariants
///
/// `base` is the base of a per-CPU allocation for a `T`, in which each possible processor's one is
/// initialised, and pinned.
///
/// # Examples
///
/// ```
/// use kernel::{cpu::CpuId, cpumask::possible_cpus, percpu::SharedPerCpu};
/// use kernel::sync::atomic::{Atomic, Relaxed};
///
/// let hits = SharedPerCpu::<Atomic<u64>>::zeroed(GFP_KERNEL)?;
///
/// hits.on(CpuId::current()).fetch_add(1, Relaxed);
/// for cpu in possible_cpus() {
///     hits.on(cpu).fetch_add(1, Relaxed);
/// }
///
/// let all: u64 = hits.iter().map(|(_, hits)| hits.load(Relaxed)).sum();
/// assert_eq!(all, possible_cpus().count() as u64 + 1);
/// # Ok::<(), Error>(())
/// ```
pub struct SharedPerCpu<T> {
    base: NonNull<T>,
    _owns: PhantomData<T>,
}

// SAFETY: It owns the values, which may be dropped by another task if they are `Send`.
unsafe impl<T: Send> Send for SharedPerCpu<T> {}

// SAFETY: A shared reference gives shared references to the values, to any task on any processor.
unsafe impl<T: Sync> Sync for SharedPerCpu<T> {}

impl<T> SharedPerCpu<T> {
    /// Makes all values as zeros.
    ///
    /// Process context only; it may sleep, whatever the flags.
    ///
    /// # Errors
    ///
    /// If there is no memory, or a `T` is bigger than a per-CPU allocation can be.
    pub fn zeroed(flags: Flags) -> Result<Self, AllocError>
    where
        T: Zeroable,
    {
        // The allocator wants to be asked for something.
        let size = size_of::<T>().max(1);
        // SAFETY: It fails for sizes and alignments that it cannot give.
        let base = unsafe { bindings::__alloc_percpu_gfp(size, align_of::<T>(), flags.as_raw()) };
        // INVARIANT: The memory is zeroed, which is a valid value for a `Zeroable`.
        Ok(Self {
            base: NonNull::new(base.cast()).ok_or(AllocError)?,
            _owns: PhantomData,
        })
    }

    /// Returns the value of a processor.
    ///
    /// Any context.
    #[inline]
    pub fn on(&self, cpu: CpuId) -> &T {
        // SAFETY: By the type invariants, the value is initialised, and stays while `self` does.
        unsafe { &*self.slot(cpu) }
    }

    /// Iterates over the values of all possible processors, in rising order.
    pub fn iter(&self) -> impl Iterator<Item = (CpuId, &T)> {
        possible_cpus().map(|cpu| (cpu, self.on(cpu)))
    }

    /// Returns where the value of `cpu` is.
    #[inline]
    fn slot(&self, cpu: CpuId) -> *mut T {
        // The base is not an address itself: what there is to add to it wraps around.
        self.base.as_ptr().wrapping_byte_add(offset(cpu))
    }
}

impl<T> Drop for SharedPerCpu<T> {
    fn drop(&mut self) {
        if needs_drop::<T>() {
            for cpu in possible_cpus() {
                // SAFETY: By the type invariants; there are no more references, since this is dropped.
                unsafe { self.slot(cpu).drop_in_place() };
            }
        }
        // SAFETY: It was allocated, and is not used again.
        unsafe { bindings::free_percpu(self.base.as_ptr().cast()) };
    }
}

/// Returns what is to be added to the base of an allocation for a processor's part of it.
#[cfg(CONFIG_SMP)]
#[inline]
fn offset(cpu: CpuId) -> usize {
    let table: *const usize = core::ptr::addr_of!(bindings::__per_cpu_offset).cast();
    // SAFETY: The table has an entry for every possible processor, which is written at boot.
    unsafe { *table.add(cpu.index()) }
}

/// Returns what is to be added to the base of an allocation for the only processor.
#[cfg(not(CONFIG_SMP))]
#[inline]
fn offset(_cpu: CpuId) -> usize {
    0
}
