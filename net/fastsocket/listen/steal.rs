// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Stealing: whoever is idle takes from the slot of who is busy.
//!
//! A connection is served best where it arrived, and a long queue is no reason to take from it: whoever serves it
//! may be through with it before another CPU has the first connection's cache lines. What
//! counts is how long one waits. If somebody who serves its slot was asleep, they come; if one runs there, and those who were
//! left to them until now did not wait for long ([`Credit`]), they will. Else the slot is *loaded*, and somebody who is
//! idle is woken to help. Its timer sees to it that this holds ([`Age`], [`late`]). Which slots are loaded
//! is written when that changes only, so that who is about to sleep reads one clean line to
//! learn that there is nothing to steal.

use kernel::{
    alloc::Flags,
    cpu::{self, CpuId},
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
    time::msecs_to_jiffies,
};

/// After this time, in milliseconds, a connection has waited for too long, whoever was to come. Who was displaced by
/// another task of their CPU is back sooner, by the scheduler's slice of 3 ms.
const LATE_MS: u32 = 4;

/// What is queued just before a tick has waited for one right after it: of that many, the first says
/// nothing.
const LATE_TICKS: u32 = 2;

/// Is a slot loaded where a connection has waited for so many ticks?
pub(crate) fn late(ticks: u32) -> bool {
    ticks >= LATE_TICKS.max(msecs_to_jiffies(LATE_MS) as u32)
}

/// Is help called at a tick at which a connection has waited for so many? When it is late, and then each time that this
/// has doubled: all who wait are told but once, however long that list is.
pub(crate) fn call_at(ticks: u32) -> Option<Called> {
    if !late(ticks) {
        None
    } else if !late(ticks.saturating_sub(1)) {
        Some(Called::All)
    } else {
        ticks.is_power_of_two().then_some(Called::Idle)
    }
}

/// Who is called to help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Called {
    /// Whoever may.
    All,
    /// One of the consumers that are idle.
    Idle,
}

/// Whether a connection may be left to tasks that are busy, as those that were left to them before tell.
///
/// When one has waited for too long, none is left to them for a while; then one is, and if that waits as well, it is
/// twice as long. (Those for which help was called tell nothing: who is busy takes such only if he is soon there.)
pub(crate) struct Credit {
    /// How many are not left to them now.
    withheld: Atomic<u32>,
    /// How many it will be the next time.
    next: Atomic<u32>,
}

impl Credit {
    const FEW: u32 = 1 << 8;
    const MANY: u32 = 1 << 12;

    pub(crate) const fn new() -> Self {
        Self {
            withheld: Atomic::new(0),
            next: Atomic::new(Self::FEW),
        }
    }

    /// One that was left to them has waited for so long, and `long` is too long. For who serves the slot.
    #[inline]
    pub(crate) fn waited(&self, time: u32, long: u32) {
        let next = self.next.load(Relaxed);
        if time > long {
            self.withheld.store(next, Relaxed);
            let twice = next.saturating_mul(2).min(Self::MANY);
            self.next.store(twice, Relaxed);
        } else if next > Self::FEW {
            self.next.store(next / 2, Relaxed);
        }
    }

    /// None is left to them for a while, however that was before.
    pub(crate) fn withhold(&self) {
        self.withheld.store(Self::FEW, Relaxed);
    }

    /// Nobody came at all, as it is where a lock decides who accepts. For the slot's timer.
    pub(crate) fn nobody_came(&self) {
        self.withheld.store(Self::MANY, Relaxed);
        self.next.store(Self::MANY, Relaxed);
    }

    /// Is there any? Any context.
    #[inline]
    pub(crate) fn is_there(&self) -> bool {
        self.withheld.load(Relaxed) == 0
    }

    /// May another one be left to them? For the slot's CPU.
    #[inline]
    pub(crate) fn allows(&self) -> bool {
        let withheld = self.withheld.load(Relaxed);
        if withheld > 0 {
            self.withheld.store(withheld.saturating_sub(1), Relaxed);
        }
        withheld == 0
    }
}

/// How long the connections of a queue wait. For the timer of its slot only.
///
/// It follows one connection at a time: the last one that was queued when the one before it was taken.
pub(crate) struct Age {
    /// How many will have been taken when the one that is followed is.
    mark: Atomic<u32>,
    /// How many ticks it has waited.
    ticks: Atomic<u32>,
}

impl Age {
    pub(crate) const fn new() -> Self {
        Self {
            mark: Atomic::new(0),
            ticks: Atomic::new(0),
        }
    }

    /// A tick: returns how many the connection that is followed has waited.
    ///
    /// `taken` is how many connections were taken until now, `queued` how many wait.
    pub(crate) fn tick(&self, taken: u32, queued: u32) -> u32 {
        let left = self.mark.load(Relaxed).wrapping_sub(taken);
        let waits = (1..=queued).contains(&left);
        let ticks = if waits {
            self.ticks.load(Relaxed).saturating_add(1)
        } else {
            self.mark.store(taken.wrapping_add(queued), Relaxed);
            0
        };
        self.ticks.store(ticks, Relaxed);
        ticks
    }
}

/// Of which CPUs the slots are loaded: a bit for each. It is read by all who have nothing to do, and
/// written when that changes.
pub(crate) struct LoadedCpus(KVec<Atomic<usize>>);

impl LoadedCpus {
    pub(crate) fn new(flags: Flags) -> Result<Self> {
        let mut words = KVec::new();
        for _ in 0..cpu::nr_cpu_ids().div_ceil(usize::BITS) {
            words.push(Atomic::new(0), flags)?;
        }
        Ok(Self(words))
    }

    /// Writes only if that changes. Any context.
    pub(crate) fn set(&self, cpu: CpuId, loaded: bool) {
        let bit = 1 << (cpu.as_u32() % usize::BITS);
        if let Some(word) = self.0.get((cpu.as_u32() / usize::BITS) as usize) {
            if (word.load(Relaxed) & bit != 0) == loaded {
                return;
            }
            if loaded {
                word.fetch_or(bit, Relaxed);
            } else {
                word.fetch_and(!bit, Relaxed);
            }
        }
    }

    /// Any context.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| word.load(Relaxed) == 0)
    }

    /// Any context.
    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = CpuId> + '_ {
        let words = self.0.iter().map(|word| word.load(Relaxed));
        set_bits(words).filter_map(CpuId::from_u32)
    }
}

/// Returns the numbers of the bits that are set in a bitmap.
#[inline]
fn set_bits(words: impl Iterator<Item = usize>) -> impl Iterator<Item = u32> {
    let firsts = (0..).step_by(usize::BITS as usize);
    firsts.zip(words).flat_map(|(first, mut bits)| {
        core::iter::from_fn(move || {
            let bit = (bits != 0).then(|| bits.trailing_zeros())?;
            bits &= bits.wrapping_sub(1);
            Some(first | bit)
        })
    })
}

#[kernel::macros::kunit_tests(fastsocket_steal)]
mod tests {
    use super::*;

    /// The least that is ever late.
    const LATE: u32 = LATE_TICKS;

    fn denied(credit: &Credit) -> usize {
        (0..2 * Credit::MANY)
            .take_while(|_| !credit.allows())
            .count()
    }

    #[test]
    fn who_is_quick_keeps_credit() {
        let credit = Credit::new();
        for _ in 0..100 {
            credit.waited(128, 128);
            assert!(credit.is_there() && credit.allows());
        }
    }

    #[test]
    fn who_lets_wait_loses_it_for_longer_each_time() {
        let credit = Credit::new();
        for n in 0..8 {
            credit.waited(129, 128);
            assert!(!credit.is_there());
            let expected = (Credit::FEW << n).min(Credit::MANY);
            assert_eq!(denied(&credit), expected as usize);
        }
        // And gets it back as fast.
        for _ in 0..8 {
            credit.waited(0, 128);
        }
        credit.waited(129, 128);
        assert_eq!(denied(&credit), Credit::FEW as usize);
    }

    #[test]
    fn who_did_not_come_loses_it_for_long() {
        let credit = Credit::new();
        credit.nobody_came();
        assert_eq!(denied(&credit), Credit::MANY as usize);
    }

    #[test]
    fn what_is_withheld_comes_back() {
        let credit = Credit::new();
        credit.withhold();
        credit.withhold();
        assert_eq!(denied(&credit), Credit::FEW as usize);
        assert!(credit.is_there());
    }

    /// However long the queue is: if each is taken soon, none is late.
    #[test]
    fn a_queue_that_moves_fast_is_not_late() {
        let age = Age::new();
        for tick in 0..100 {
            assert!(age.tick(tick * 50, 60) < LATE, "at tick {}", tick);
        }
    }

    /// However short it is, and though some are taken.
    #[test]
    fn a_queue_that_moves_slowly_is_late() {
        let age = Age::new();
        let late = (0..30).filter(|tick| age.tick(*tick, 10) >= LATE).count();
        // Each follows ten, of which the first two ticks are not late.
        assert!(late >= 18, "late at {} of 30 ticks", late);
    }

    #[test]
    fn a_queue_that_stands_is_late_after_two_ticks() {
        let age = Age::new();
        assert_eq!(age.tick(7, 1), 0);
        assert_eq!(age.tick(7, 3), 1);
        assert_eq!(age.tick(7, 3), 2);
        // The first is taken; the others begin to count when it is.
        assert_eq!(age.tick(8, 2), 0);
        assert_eq!(age.tick(8, 2), 1);
    }

    #[test]
    fn help_is_called_less_and_less_often() {
        let calls = (0..1024).filter_map(call_at);
        assert_eq!(calls.clone().filter(|call| *call == Called::All).count(), 1);
        assert!(calls.count() <= 10);
        assert_eq!(call_at(0), None);
        assert_eq!(call_at(512), Some(Called::Idle));
    }

    #[test]
    fn one_tick_is_never_late() {
        assert!(!late(1));
        assert!(late(msecs_to_jiffies(LATE_MS) as u32 + LATE_TICKS));
    }

    /// What was pushed was not taken, and is not waited for.
    #[test]
    fn what_is_gone_is_not_followed() {
        let age = Age::new();
        assert_eq!(age.tick(0, 100), 0);
        assert_eq!(age.tick(0, 100), 1);
        // All were pushed, and one came.
        assert_eq!(age.tick(0, 1), 0);
    }

    #[test]
    fn counts_over_the_end_of_numbers() {
        let age = Age::new();
        assert_eq!(age.tick(u32::MAX - 1, 0), 0);
        assert_eq!(age.tick(u32::MAX - 1, 4), 0);
        assert_eq!(age.tick(u32::MAX, 3), 1);
        assert_eq!(age.tick(1, 1), 2);
        assert_eq!(age.tick(2, 1), 0);
    }

    #[test]
    fn bits_are_found_in_all_words() {
        let bits = |words: &'static [usize]| set_bits(words.iter().copied());
        assert!(bits(&[]).next().is_none());
        assert!(bits(&[0, 0]).next().is_none());
        assert!(bits(&[0b1010, 1, usize::MAX << 63]).eq([1, 3, 64, 191]));
        assert_eq!(bits(&[usize::MAX]).count(), 64);
    }

    #[test]
    fn loaded_cpus_are_those_that_were_said_to_be() -> Result {
        let cpus = LoadedCpus::new(GFP_KERNEL)?;
        assert!(cpus.is_empty() && cpus.iter().next().is_none());
        for cpu in kernel::cpumask::possible_cpus() {
            cpus.set(cpu, true);
            cpus.set(cpu, true);
            assert!(!cpus.is_empty());
            assert!(cpus.iter().eq([cpu]), "cpu {}", cpu);
            cpus.set(cpu, false);
        }
        assert!(cpus.iter().next().is_none());
        Ok(())
    }
}
