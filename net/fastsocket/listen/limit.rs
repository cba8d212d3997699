// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! The limits of a listening socket, counted by CPU.
//!
//! How many requests are half open, and how many connections wait, is compared with the socket's limits at
//! each SYN. To sum up what all CPUs have would move a cache line from each of them, each time. So a slot
//! keeps what it knows of the others: of requests, how many they had at this tick ([`Sum`]); of
//! connections, how many this CPU may still add before it has to look again ([`Room`]).

use kernel::{
    bindings,
    sync::atomic::{Atomic, Relaxed},
    types::Opaque,
};

use crate::core::clock;

/// What TCP counts of the requests that a slot has: the part of it that C knows.
///
/// # Invariants
///
/// The counters are changed atomically.
#[repr(transparent)]
pub(crate) struct Requests(Opaque<bindings::fastsocket_slot>);

// SAFETY: By the type invariants.
unsafe impl Send for Requests {}

// SAFETY: By the type invariants.
unsafe impl Sync for Requests {}

fn counter(value: i32) -> bindings::atomic_t {
    bindings::atomic_t { counter: value }
}

impl Requests {
    /// No requests, and the reference of the socket.
    pub(crate) fn new() -> Self {
        Self(Opaque::new(bindings::fastsocket_slot {
            refs: bindings::refcount_t { refs: counter(1) },
            qlen: counter(0),
            young: counter(0),
        }))
    }

    /// How many are there, or of those, how many are young? Any context.
    pub(crate) fn number(&self, young: bool) -> i32 {
        let counts = self.0.get();
        // SAFETY: The pointer is valid, and by the type invariants.
        unsafe {
            let counter = if young {
                core::ptr::addr_of!((*counts).young.counter)
            } else {
                core::ptr::addr_of!((*counts).qlen.counter)
            };
            core::ptr::read_volatile(counter)
        }
    }

    /// Gives up the reference of the socket. Returns whether it was the last one.
    ///
    /// # Safety
    ///
    /// To be called once.
    pub(crate) unsafe fn put(&self) -> bool {
        // SAFETY: By the safety requirements, there is the reference.
        unsafe { bindings::refcount_dec_and_test(core::ptr::addr_of_mut!((*self.0.get()).refs)) }
    }
}

/// Of what so many CPUs may have together, is that only the share of one?
///
/// Where a share is but a few, all are to be counted.
#[inline]
pub(crate) fn is_share(own: i32, cpus: u32, all: u32) -> bool {
    const FEW: u32 = 4;
    let own = u32::try_from(own).unwrap_or(0);
    cpus.saturating_mul(own.max(FEW)) <= all
}

/// A sum over all slots, of which that of the others is as old as this tick at most.
pub(crate) struct Sum {
    tick: Atomic<u32>,
    others: Atomic<i32>,
}

impl Sum {
    pub(crate) fn new() -> Self {
        Self {
            // The first tick that is asked about is another one.
            tick: Atomic::new(clock::now().wrapping_sub(1)),
            others: Atomic::new(0),
        }
    }

    /// Returns the sum at a tick; `own` is exact. For the slot's CPU.
    pub(crate) fn get(&self, tick: u32, own: i32, others: impl FnOnce() -> i32) -> i32 {
        if self.tick.load(Relaxed) != tick {
            self.others.store(others(), Relaxed);
            self.tick.store(tick, Relaxed);
        }
        own.saturating_add(self.others.load(Relaxed))
    }
}

/// How many connections a CPU may add before it has to look at what others have added.
///
/// Each takes a share of the room that there is, so that all together never add more than twice what the
/// program wants, and a few more than that if it wants a few.
pub(crate) struct Room(Atomic<u32>);

impl Room {
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Would more wait than the program wants? As in mainline, one more than `most` is not too many yet.
    ///
    /// `waiting` is how many wait, looked at if that has to be known; `sharers` is how many share the room.
    /// For the slot's CPU.
    pub(crate) fn is_full(&self, most: u32, waiting: impl FnOnce() -> u32, sharers: u32) -> bool {
        if self.0.load(Relaxed) > 0 {
            return false;
        }
        let waiting = waiting();
        if waiting > most {
            return true;
        }
        let room = most.saturating_sub(waiting).saturating_add(1);
        let share = room.checked_div(sharers).unwrap_or(room).max(1);
        self.0.store(share, Relaxed);
        false
    }

    /// A connection was added. For the slot's CPU.
    pub(crate) fn used(&self) {
        let left = self.0.load(Relaxed);
        if left > 0 {
            self.0.store(left.saturating_sub(1), Relaxed);
        }
    }
}

#[kernel::macros::kunit_tests(fastsocket_limit)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_much_is_known_without_the_others() {
        assert!(is_share(0, 4, 16) && is_share(4, 4, 16) && !is_share(5, 4, 16));
        assert!(is_share(21, 24, 511) && !is_share(22, 24, 511));
        // All of it, where there is one CPU.
        assert!(is_share(16, 1, 16) && !is_share(17, 1, 16));
    }

    #[test]
    fn of_few_all_are_counted() {
        assert!(!is_share(0, 4, 15));
        assert!(!is_share(0, 1, 3));
        assert!(!is_share(0, u32::MAX, 4096));
    }

    #[test]
    fn a_sum_asks_others_once_a_tick() {
        let sum = Sum::new();
        let tick = clock::now();
        assert_eq!(sum.get(tick, 1, || 10), 11);
        // What others have now is not looked at; what is here is.
        assert_eq!(sum.get(tick, 3, || 20), 13);
        assert_eq!(sum.get(tick.wrapping_add(1), 3, || 20), 23);
        assert_eq!(sum.get(tick.wrapping_add(1), i32::MAX, || 0), i32::MAX);
    }

    /// One CPU alone adds as many as mainline lets it.
    #[test]
    fn room_for_one_is_exact() {
        for most in [0, 1, 4, 511] {
            let room = Room::new();
            let mut waiting = 0;
            while !room.is_full(most, || waiting, 1) {
                room.used();
                waiting += 1;
            }
            assert_eq!(waiting, most + 1);
        }
    }

    /// Several, each in its turn or one after the other, add at most twice as many.
    #[test]
    fn room_for_several_is_bounded() {
        for most in [0_u32, 1, 4, 100, 4096] {
            for together in [false, true] {
                let rooms: [Room; 8] = core::array::from_fn(|_| Room::new());
                let mut waiting = 0_u32;
                if together {
                    // All have looked when there was nothing.
                    for room in &rooms {
                        assert!(!room.is_full(most, || 0, 8));
                    }
                }
                for room in &rooms {
                    while !room.is_full(most, || waiting, 8) {
                        room.used();
                        waiting += 1;
                    }
                }
                assert!(waiting > most, "{} of {}", waiting, most);
                let bound = (2 * (most + 1)).max(most + 8);
                assert!(waiting <= bound, "{} of {}", waiting, most);
            }
        }
    }

    #[test]
    fn what_was_taken_makes_room() {
        let room = Room::new();
        assert!(room.is_full(4, || 5, 2));
        assert!(!room.is_full(4, || 4, 2));
        room.used();
        assert!(room.is_full(4, || 5, 2));
    }
}
