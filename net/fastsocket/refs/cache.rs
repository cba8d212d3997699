// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! A cache of references: what each CPU has in stock of a counter that all share.
//!
//! References are alike, so who needs one takes what somebody on this CPU has given back, and writes no line that
//! other CPUs have. A CPU that has none gets several of the shared counter at once, and one that has too many puts some
//! back.
//!
//! While something is in stock, the counter does not get to 0. So the cache can be *settled*: what is in stock
//! goes back, and what is given back afterwards goes there directly, until somebody who will settle it again
//! *resumes*.
//!
//! No reference is lost or made up, and none stays in stock when all is settled. `tools/testing/fastsocket/interleave`
//! goes through all orders; so there is nothing of the kernel's in here.

use super::prim::{AtomicU32, Ordering};

/// How many references a CPU gets at once.
const BATCH: u32 = 32;

/// How many it keeps at most.
const MOST: u32 = 2 * BATCH;

/// How many a CPU keeps of too many, and how many it does not. Seldom called.
#[cold]
fn too_many(sum: u32) -> (u32, u32) {
    (BATCH, sum.saturating_sub(BATCH))
}

/// Where each CPU has its stock.
pub(crate) trait Cells {
    /// Names a CPU.
    type Cpu: Copy;

    /// Returns the stock of a CPU.
    fn of(&self, cpu: Self::Cpu) -> &AtomicU32;

    /// Calls a function for each.
    fn each(&self, function: impl FnMut(&AtomicU32));
}

/// What the CPUs have in stock of a counter, which the caller has.
pub(crate) struct Cache<C> {
    cells: C,
    settled: AtomicU32,
}

impl<C: Cells> Cache<C> {
    /// A cache that is settled.
    pub(crate) fn new(cells: C) -> Self {
        Self {
            cells,
            settled: AtomicU32::new(1),
        }
    }

    /// Where the CPUs have their stock.
    #[allow(dead_code)] // The host looks there when all is over.
    pub(crate) fn cells(&self) -> &C {
        &self.cells
    }

    /// Is nothing in stock?
    #[inline]
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed) != 0
    }

    /// Takes a reference on a CPU; if it is settled, `resumes` says whether it is not any more.
    ///
    /// Returns how many the caller is to get of the counter: none if one was in stock. Of more than one, it
    /// [gives](Self::give) what is left.
    #[inline]
    pub(crate) fn take(&self, cpu: C::Cpu, resumes: bool) -> u32 {
        if self.is_settled() {
            if !resumes {
                return 1;
            }
            self.resume();
        }
        let cell = self.cells.of(cpu);
        let mut stock = cell.load(Ordering::Relaxed);
        while let Some(left) = stock.checked_sub(1) {
            match cell.compare_exchange(stock, left, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return 0,
                Err(now) => stock = now,
            }
        }
        BATCH
    }

    /// Gives references back on a CPU. Returns how many the caller is to put back to the counter.
    #[inline]
    pub(crate) fn give(&self, cpu: C::Cpu, number: u32) -> u32 {
        if self.is_settled() {
            return number;
        }
        let cell = self.cells.of(cpu);
        let mut stock = cell.load(Ordering::Relaxed);
        let surplus = loop {
            let sum = stock.saturating_add(number);
            let (keep, surplus) = if sum > MOST { too_many(sum) } else { (sum, 0) };
            match cell.compare_exchange(stock, keep, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break surplus,
                Err(now) => stock = now,
            }
        };
        // Both this and `settle` have changed the stock, one after the other: who settles it has found these, or it
        // is seen here that it is settled.
        if self.is_settled() {
            return surplus.saturating_add(cell.swap(0, Ordering::AcqRel));
        }
        surplus
    }

    /// Is not settled any more: the caller will settle it, or somebody after it.
    pub(crate) fn resume(&self) {
        self.settled.store(0, Ordering::Relaxed);
    }

    /// Settles it. Returns how many the caller is to put back to the counter.
    pub(crate) fn settle(&self) -> u32 {
        if self.is_settled() {
            return 0;
        }
        self.settled.store(1, Ordering::Relaxed);
        let mut all = 0_u32;
        self.cells
            .each(|cell| all = all.saturating_add(cell.swap(0, Ordering::AcqRel)));
        all
    }
}
