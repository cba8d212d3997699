// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2025 The Fastsocket authors.

//! Per-CPU data.
//!
//! A [`PerCpu<T>`] holds one `T` for each possible processor, each in memory of that processor's
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
    cpu::{possible_cpus, CpuGuard, CpuId, Cpus},
    error::{Error, Result},
    init::{PinInit, Zeroable},
    types::ScopeGuard,
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
/// use core::sync::atomic::{AtomicU64, Ordering};
/// use kernel::{cpu::{self, CpuGuard}, percpu::PerCpu};
///
/// #[derive(Default)]
/// struct Counters {
///     hits: AtomicU64,
///     misses: AtomicU64,
/// }
///
/// let counters = PerCpu::<Counters>::new(GFP_KERNEL)?;
///
/// counters.this_cpu(&CpuGuard::new()).hits.fetch_add(1, Ordering::Relaxed);
/// for cpu in cpu::possible_cpus() {
///     counters.on(cpu).misses.fetch_add(1, Ordering::Relaxed);
/// }
///
/// let (mut hits, mut misses) = (0, 0);
/// for (_, counter) in &counters {
///     hits += counter.hits.load(Ordering::Relaxed);
///     misses += counter.misses.load(Ordering::Relaxed);
/// }
/// assert_eq!(hits, 1);
/// assert_eq!(misses, cpu::possible_cpus().count() as u64);
/// # Ok::<(), Error>(())
/// ```
///
/// Values that have to be pinned, such as locks, are initialised in place:
///
/// ```
/// use kernel::{cpu, new_spinlock, percpu::PerCpu, sync::SpinLock};
///
/// let queues = PerCpu::<SpinLock<u32>>::pin_init(GFP_KERNEL, |cpu| {
///     new_spinlock!(cpu.get() * 2, "PerCpu::queue")
/// })?;
/// for (cpu, queue) in queues.iter() {
///     assert_eq!(*queue.lock(), cpu.get() * 2);
/// }
/// # Ok::<(), Error>(())
/// ```
///
/// What fails half-way leaves nothing behind:
///
/// ```
/// use core::sync::atomic::{AtomicU32, Ordering};
/// use kernel::{cpu, percpu::PerCpu};
///
/// static ALIVE: AtomicU32 = AtomicU32::new(0);
///
/// struct Counted;
/// impl Drop for Counted {
///     fn drop(&mut self) {
///         ALIVE.fetch_sub(1, Ordering::Relaxed);
///     }
/// }
///
/// let last = cpu::possible_cpus().last();
/// let make = |fail: bool| PerCpu::<Counted>::new_with(GFP_KERNEL, |cpu| {
///     if fail && Some(cpu) == last {
///         return Err(EINVAL);
///     }
///     ALIVE.fetch_add(1, Ordering::Relaxed);
///     Ok(Counted)
/// });
///
/// assert_eq!(make(true).err(), Some(EINVAL));
/// assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
/// let all = make(false)?;
/// assert_eq!(ALIVE.load(Ordering::Relaxed) as usize, cpu::possible_cpus().count());
/// drop(all);
/// assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
/// # Ok::<(), Error>(())
/// ```
pub struct PerCpu<T> {
    base: NonNull<T>,
    _owns: PhantomData<T>,
}

// SAFETY: It owns the values, which may be dropped by another task if they are `Send`.
unsafe impl<T: Send> Send for PerCpu<T> {}

// SAFETY: A shared reference gives shared references to the values, to any task on any processor.
unsafe impl<T: Sync> Sync for PerCpu<T> {}

impl<T> PerCpu<T> {
    /// Makes all values by default.
    ///
    /// Process context only; it may sleep, whatever the flags.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also if a `T` is bigger than a per-CPU allocation can be.
    pub fn new(flags: Flags) -> Result<Self>
    where
        T: Default,
    {
        Self::new_with(flags, |_| Ok(T::default()))
    }

    /// Makes all values as zeros.
    ///
    /// Errors and context as [`new`](Self::new).
    pub fn zeroed(flags: Flags) -> Result<Self, AllocError>
    where
        T: Zeroable,
    {
        // INVARIANT: The memory is zeroed, which is a valid value for a `Zeroable`.
        Ok(Self {
            base: Self::alloc(flags)?,
            _owns: PhantomData,
        })
    }

    /// Makes each value by a function of the processor.
    ///
    /// Context as [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the function fails with.
    pub fn new_with(flags: Flags, mut make: impl FnMut(CpuId) -> Result<T>) -> Result<Self> {
        Self::pin_init(flags, |cpu| {
            let value = make(cpu);
            // SAFETY: The slot is initialised if `Ok` is returned, and left alone otherwise.
            unsafe {
                crate::init::init_from_closure(move |slot: *mut T| {
                    slot.write(value?);
                    Ok::<(), Error>(())
                })
            }
        })
    }

    /// Initialises each value in place, by what a function of the processor returns.
    ///
    /// Errors and context as [`new_with`](Self::new_with).
    pub fn pin_init<E, I>(flags: Flags, mut make: impl FnMut(CpuId) -> I) -> Result<Self>
    where
        I: PinInit<T, E>,
        Error: From<E>,
    {
        let base = Self::alloc(flags)?;
        // How many were initialised, in the order of `possible_cpus`.
        let mut done = ScopeGuard::new_with_data(0, |done| {
            // SAFETY: `base` was allocated, and that many values initialised. Nobody else uses
            // them.
            unsafe { Self::free(base, done) }
        });

        for cpu in possible_cpus() {
            // SAFETY: The slot is valid and unused; it does not move until it is freed, when it is
            // dropped first.
            unsafe { make(cpu).__pinned_init(Self::slot(base, cpu)) }?;
            *done += 1;
        }
        done.dismiss();
        // INVARIANT: All values are initialised.
        Ok(Self {
            base,
            _owns: PhantomData,
        })
    }

    /// Returns the value of a processor.
    ///
    /// Any context.
    #[inline]
    pub fn on(&self, cpu: CpuId) -> &T {
        // SAFETY: By the type invariants, the value is initialised, and stays while `self` does.
        unsafe { &*Self::slot(self.base, cpu) }
    }

    /// Returns the value of the processor with this number, if there can be one.
    ///
    /// Any context.
    #[inline]
    pub fn get(&self, cpu: u32) -> Option<&T> {
        Some(self.on(CpuId::new(cpu)?))
    }

    /// Returns the value of the current processor.
    ///
    /// Others may use it too: interrupts and softirqs of this processor, if they know it.
    #[inline]
    pub fn this_cpu<'a>(&'a self, guard: &'a CpuGuard) -> &'a T {
        self.on(guard.cpu())
    }

    /// Iterates over the values of all possible processors, in rising order.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter {
            cpus: possible_cpus(),
            of: self,
        }
    }

    /// Allocates zeroed memory for a `T` of each possible processor.
    fn alloc(flags: Flags) -> Result<NonNull<T>, AllocError> {
        // The allocator wants to be asked for something.
        let size = size_of::<T>().max(1);
        // SAFETY: It fails for sizes and alignments that it cannot give.
        let base = unsafe { bindings::__alloc_percpu_gfp(size, align_of::<T>(), flags.as_raw()) };
        NonNull::new(base.cast()).ok_or(AllocError)
    }

    /// Returns where the value of `cpu` is in the allocation at `base`.
    #[inline]
    fn slot(base: NonNull<T>, cpu: CpuId) -> *mut T {
        // The base is not an address itself: what there is to add to it wraps around.
        base.as_ptr().wrapping_byte_add(offset(cpu))
    }

    /// Drops the first `count` values, and frees the memory.
    ///
    /// # Safety
    ///
    /// `base` must be from [`Self::alloc`], the values initialised, and nothing used again.
    unsafe fn free(base: NonNull<T>, count: usize) {
        if needs_drop::<T>() {
            for cpu in possible_cpus().take(count) {
                // SAFETY: It is initialised, and not used again.
                unsafe { Self::slot(base, cpu).drop_in_place() };
            }
        }
        // SAFETY: It was allocated, and is not used again.
        unsafe { bindings::free_percpu(base.as_ptr().cast()) };
    }
}

impl<T> Drop for PerCpu<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants; there are no more references, since this is dropped.
        unsafe { Self::free(self.base, usize::MAX) };
    }
}

/// An iterator over the values of all possible processors.
pub struct Iter<'a, T> {
    cpus: Cpus,
    of: &'a PerCpu<T>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = (CpuId, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        let cpu = self.cpus.next()?;
        Some((cpu, self.of.on(cpu)))
    }
}

impl<'a, T> IntoIterator for &'a PerCpu<T> {
    type Item = (CpuId, &'a T);
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
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
