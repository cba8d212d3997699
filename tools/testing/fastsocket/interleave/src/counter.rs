// SPDX-License-Identifier: GPL-2.0

//! A counter that all CPUs share, what they have of it in stock, and scenes of those who take and give.

use super::{
    cache::{Cache, Cells},
    prim::{AtomicU32, Ordering},
};
use crate::{together, Scene};
use std::sync::Arc;

/// The stock of two CPUs.
struct Two([AtomicU32; 2]);

impl Cells for Two {
    type Cpu = usize;

    fn of(&self, cpu: usize) -> &AtomicU32 {
        &self.0[cpu]
    }

    fn each(&self, function: impl FnMut(&AtomicU32)) {
        self.0.iter().for_each(function);
    }
}

struct Counter {
    cache: Cache<Two>,
    /// What the kernel has as a `refcount_t`.
    all: AtomicU32,
}

impl Counter {
    /// One that somebody has `held` references to, and CPU 0 `stock` of in stock.
    fn new(held: u32, stock: u32) -> Arc<Self> {
        let counter = Self {
            cache: Cache::new(Two([AtomicU32::new(stock), AtomicU32::new(0)])),
            all: AtomicU32::new(held + stock),
        };
        counter.cache.resume();
        Arc::new(counter)
    }

    fn count(&self, by: impl Fn(u32) -> Option<u32>) {
        let mut all = self.all.load(Ordering::Relaxed);
        loop {
            let new = by(all).expect("more references were given back than there are");
            match self
                .all
                .compare_exchange(all, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => all = now,
            }
        }
    }

    fn put(&self, number: u32) {
        if number > 0 {
            self.count(|all| all.checked_sub(number));
        }
    }

    fn takes(&self, cpu: usize, resumes: bool) {
        let number = self.cache.take(cpu, resumes);
        if number > 0 {
            self.count(|all| Some(all + number));
        }
        if number > 1 {
            self.put(self.cache.give(cpu, number - 1));
        }
        assert!(self.all.load(Ordering::Acquire) > 0, "it is held, and free");
    }

    fn gives(&self, cpu: usize) {
        self.put(self.cache.give(cpu, 1));
    }

    fn settles(&self) {
        self.put(self.cache.settle());
    }

    /// All is over, and so many references are held.
    fn has_ended(&self, held: u32) {
        let mut stock = 0;
        self.cache
            .cells()
            .each(|cell| stock += cell.load(Ordering::Acquire));
        assert_eq!(stock, 0, "left in stock");
        assert_eq!(self.all.load(Ordering::Acquire), held, "miscounted");
    }
}

/// The last one who has a reference gives it up while the last task leaves.
pub(crate) const ALL_IS_GIVEN_BACK: Scene = Scene {
    preemptions: 3,
    run: || {
        let counter = Counter::new(1, 1);
        together(&counter, [|counter| counter.gives(0), Counter::settles]);
        counter.has_ended(0);
    },
};

/// One takes a reference, on the strength of one that is held, while a task leaves; and gives it back elsewhere.
pub(crate) const ONE_IS_TAKEN_MEANWHILE: Scene = Scene {
    preemptions: 3,
    run: || {
        let counter = Counter::new(1, 1);
        together(
            &counter,
            [
                |counter| {
                    counter.takes(0, false);
                    counter.gives(1);
                },
                Counter::settles,
            ],
        );
        counter.has_ended(1);
    },
};

/// Two want the only one that a CPU has in stock: one was moved from there.
pub(crate) const TWO_WANT_THE_SAME: Scene = Scene {
    preemptions: 3,
    run: || {
        let counter = Counter::new(1, 1);
        together(
            &counter,
            [
                |counter| counter.takes(0, false),
                |counter| counter.takes(0, false),
            ],
        );
        counter.settles();
        counter.has_ended(3);
    },
};

/// A task that is still there takes one while another one leaves, and leaves itself.
pub(crate) const WHO_RESUMES_SETTLES: Scene = Scene {
    preemptions: 3,
    run: || {
        let counter = Counter::new(2, 0);
        together(
            &counter,
            [
                |counter| {
                    counter.takes(0, true);
                    counter.gives(0);
                    counter.settles();
                },
                |counter| {
                    counter.settles();
                    counter.gives(1);
                },
            ],
        );
        // What the other one gave when this one had left went to the counter.
        counter.has_ended(1);
    },
};

/// A CPU that has as many in stock as it may is given one more, while a task leaves.
pub(crate) const ONE_TOO_MANY_IS_GIVEN: Scene = Scene {
    preemptions: 3,
    run: || {
        let counter = Counter::new(1, 64);
        together(&counter, [|counter| counter.gives(0), Counter::settles]);
        counter.has_ended(0);
    },
};

/// It is given two, by one who was moved from there as well.
pub(crate) const TWO_TOO_MANY_ARE_GIVEN: Scene = Scene {
    preemptions: 3,
    run: || {
        let counter = Counter::new(2, 64);
        together(
            &counter,
            [|counter| counter.gives(0), |counter| counter.gives(0)],
        );
        counter.settles();
        counter.has_ended(0);
    },
};
