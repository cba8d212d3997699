// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! References to what all sockets of a network namespace share: the namespace itself, and the number of its TIME_WAIT
//! sockets.
//!
//! Each socket counts at both, and so each connection writes two lines that all CPUs share. With a [`cache`] of
//! references, it does so once in a while.
//!
//! A namespace lives until its last reference has gone, and then goes at once. So its cache is settled whenever a task
//! leaves the namespace, or a file that holds it is closed; and it is resumed only by a task in it, which has still to
//! leave. The number of TIME_WAIT sockets has a limit: it is settled when that is reached, or when somebody asks.
//!
//! This room knows no sockets. It has no lock.

use core::ptr::NonNull;
use kernel::{
    bindings,
    cpu::CpuId,
    error::to_result,
    net::namespace::{per_net_key, Namespace, PerNet},
    percpu::SharedPerCpu,
    prelude::*,
    sync::rcu,
};

use crate::core::stats::{Counter, Stats};
use cache::{Cache, Cells};

pub(crate) mod cache;

/// What [`cache`] is built with: on the host it is loom's.
mod prim {
    pub(crate) use core::sync::atomic::{AtomicU32, Ordering};
}

/// The stock of one CPU, in memory of its own.
#[repr(transparent)]
pub(crate) struct Stock(prim::AtomicU32);

// SAFETY: All zeros is 0.
unsafe impl kernel::init::Zeroable for Stock {}

impl Cells for SharedPerCpu<Stock> {
    type Cpu = CpuId;

    #[inline]
    fn of(&self, cpu: CpuId) -> &prim::AtomicU32 {
        &self.on(cpu).0
    }

    fn each(&self, mut function: impl FnMut(&prim::AtomicU32)) {
        self.iter().for_each(|(_, stock)| function(&stock.0));
    }
}

/// The caches of a network namespace.
pub(crate) struct Refs {
    net: NonNull<bindings::net>,
    namespace: Cache<SharedPerCpu<Stock>>,
    time_wait: Cache<SharedPerCpu<Stock>>,
}

// SAFETY: The pointer is only handed to C; the rest is atomic.
unsafe impl Send for Refs {}

// SAFETY: As above.
unsafe impl Sync for Refs {}

per_net_key!(Refs);

impl PerNet for Refs {
    fn new(net: &Namespace) -> impl PinInit<Self, Error> {
        let stock = || SharedPerCpu::zeroed(GFP_KERNEL);
        try_init!(Self {
            net: NonNull::new(net.as_ptr()).ok_or(EINVAL)?,
            namespace: Cache::new(stock()?),
            time_wait: Cache::new(stock()?),
        }? Error)
    }
}

impl Drop for Refs {
    fn drop(&mut self) {
        let counters = [
            (
                bindings::fastsocket_counter_FASTSOCKET_NAMESPACE,
                &self.namespace,
            ),
            (
                bindings::fastsocket_counter_FASTSOCKET_TIME_WAIT,
                &self.time_wait,
            ),
        ];
        for (counter, cache) in counters {
            // SAFETY: The namespace is there until this has returned. These are its references, which are in stock no
            // more; a namespace that goes away for want of references has none in stock.
            unsafe { bindings::fastsocket_put_refs(self.net.as_ptr(), counter, cache.settle()) };
        }
    }
}

impl Refs {
    fn cache(&self, counter: bindings::fastsocket_counter) -> &Cache<SharedPerCpu<Stock>> {
        if counter == bindings::fastsocket_counter_FASTSOCKET_NAMESPACE {
            &self.namespace
        } else {
            &self.time_wait
        }
    }
}

/// The current task takes a connection in a namespace: if it is in that, it will leave it. Process context.
#[inline]
pub(crate) fn resume(net: &Namespace, guard: &rcu::Guard) {
    if let Some(refs) = Refs::get(net, guard).filter(|refs| refs.namespace.is_settled()) {
        // SAFETY: It can be called in process context.
        if unsafe { bindings::fastsocket_is_in(net.as_ptr()) } {
            refs.namespace.resume();
        }
    }
}

struct Ops(bindings::fastsocket_refs_ops);

// SAFETY: It is only read.
unsafe impl Sync for Ops {}

static OPS: Ops = Ops(bindings::fastsocket_refs_ops {
    take: Some(take),
    give: Some(give),
    settle: Some(settle),
});

/// The hooks being connected, until this is dropped.
pub(crate) struct Registration(());

impl Registration {
    /// Connects the hooks. Process context; sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if others are connected.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: The operations are static, and are unregistered by the drop.
        to_result(unsafe { bindings::fastsocket_refs_register(&OPS.0) })?;
        Ok(Self(()))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: It was registered.
        unsafe { bindings::fastsocket_refs_unregister() };
    }
}

/// Asks a cache for a number, and counts if it is not 0: then a line is written that all share. `none` if the
/// namespace has none.
///
/// # Safety
///
/// To be called under RCU, or without preemption; the namespace must have a reference until this returns.
#[inline]
unsafe fn ask(
    net: *mut bindings::net,
    counter: bindings::fastsocket_counter,
    cpu: CpuId,
    none: u32,
    number: impl FnOnce(&Cache<SharedPerCpu<Stock>>) -> u32,
) -> u32 {
    // SAFETY: By the safety requirements.
    let (net, guard) = unsafe { (Namespace::from_raw(net), rcu::Guard::assume()) };
    let Some(refs) = Refs::get(net, &guard) else {
        return none;
    };
    let number = number(refs.cache(counter));
    if number != 0 {
        Stats::count(net, cpu, Counter::RefsShared, &guard);
    }
    number
}

/// # Safety
///
/// As `fastsocket_refs_ops.take`.
unsafe extern "C" fn take(
    net: *mut bindings::net,
    counter: bindings::fastsocket_counter,
    resumes: bool,
    cpu: u32,
) -> u32 {
    // SAFETY: It runs there.
    let cpu = unsafe { CpuId::from_u32_unchecked(cpu) };
    // SAFETY: By the safety requirements.
    unsafe { ask(net, counter, cpu, 1, |cache| cache.take(cpu, resumes)) }
}

/// # Safety
///
/// As `fastsocket_refs_ops.give`.
unsafe extern "C" fn give(
    net: *mut bindings::net,
    counter: bindings::fastsocket_counter,
    number: u32,
    cpu: u32,
) -> u32 {
    // SAFETY: It runs there.
    let cpu = unsafe { CpuId::from_u32_unchecked(cpu) };
    // SAFETY: By the safety requirements.
    unsafe { ask(net, counter, cpu, number, |cache| cache.give(cpu, number)) }
}

/// # Safety
///
/// As `fastsocket_refs_ops.settle`.
unsafe extern "C" fn settle(net: *mut bindings::net, counter: bindings::fastsocket_counter) -> u32 {
    // SAFETY: By the safety requirements.
    unsafe { ask(net, counter, CpuId::current(), 0, Cache::settle) }
}

#[kernel::macros::kunit_tests(fastsocket_refs)]
mod tests {
    use super::*;

    fn cache() -> Result<Cache<SharedPerCpu<Stock>>> {
        Ok(Cache::new(SharedPerCpu::zeroed(GFP_KERNEL)?))
    }

    /// As a counter of somebody who takes and gives one after the other.
    #[test]
    fn one_at_a_time_asks_the_counter_once() -> Result {
        let (cache, cpu) = (cache()?, CpuId::current());
        let (mut counter, mut asked) = (0_i64, 0);
        for _ in 0..1000 {
            let got = cache.take(cpu, true);
            counter += i64::from(got);
            asked += i32::from(got > 0);
            if got > 1 {
                counter -= i64::from(cache.give(cpu, got - 1));
            }
            counter -= i64::from(cache.give(cpu, 1));
        }
        assert_eq!(asked, 1);
        counter -= i64::from(cache.settle());
        assert_eq!(counter, 0);
        Ok(())
    }

    /// Taken on one CPU, and given back on another, where they become too many.
    #[test]
    fn what_is_too_much_goes_back() -> Result {
        let (cache, cpu) = (cache()?, CpuId::current());
        cache.resume();
        let given: u32 = (0..1000).map(|_| cache.give(cpu, 1)).sum();
        assert!(given > 900);
        assert_eq!(given + cache.settle(), 1000);
        Ok(())
    }

    #[test]
    fn while_it_is_settled_nothing_is_in_stock() -> Result {
        let (cache, cpu) = (cache()?, CpuId::current());
        assert!(cache.is_settled());
        assert_eq!(cache.take(cpu, false), 1);
        assert_eq!(cache.give(cpu, 3), 3);
        assert_eq!(cache.settle(), 0);
        let got = cache.take(cpu, true);
        assert!(got > 1 && !cache.is_settled());
        assert_eq!(cache.give(cpu, got - 1), 0);
        assert_eq!(cache.take(cpu, false), 0);
        assert_eq!(cache.settle(), got - 2);
        assert_eq!(cache.give(cpu, 1), 1);
        Ok(())
    }
}
