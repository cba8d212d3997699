// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! When a connection came: to tell which one came first.

use kernel::time::Ktime;

/// A time in units of 1,024 ns. It is compared with others of the same half hour.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(u32);

impl From<u32> for Stamp {
    fn from(stamp: u32) -> Self {
        Self(stamp)
    }
}

impl From<Stamp> for u32 {
    fn from(stamp: Stamp) -> Self {
        stamp.0
    }
}

impl Stamp {
    /// Of what came before anybody looked at the time: it is before all others.
    const UNKNOWN: Self = Self(0);

    /// Any context but NMI.
    #[inline]
    pub(crate) fn now() -> Self {
        // CAST: The low bits are what is wanted.
        Self(((Ktime::ktime_get().to_ns() >> 10) as u32).max(1))
    }

    pub(crate) fn is_before(self, other: Self) -> bool {
        other != Self::UNKNOWN
            && (self == Self::UNKNOWN || (1..=u32::MAX / 2).contains(&other.0.wrapping_sub(self.0)))
    }

    /// Was it before another one, by more than so much? Of what is unknown, nobody knows.
    pub(crate) fn is_long_before(self, other: Self, much: u32) -> bool {
        let known = self != Self::UNKNOWN && other != Self::UNKNOWN;
        known && self.is_before(other) && other.0.wrapping_sub(self.0) > much
    }

    /// Is `now` later by no more than so much?
    pub(crate) fn is_recent(self, now: Self, much: u32) -> bool {
        self != Self::UNKNOWN && now.0.wrapping_sub(self.0) <= much
    }

    /// Returns a time in microseconds as what [`age`](Self::age) is compared with.
    #[inline]
    pub(crate) fn from_us(us: i32) -> u32 {
        // A unit is 2 % more than a microsecond.
        us.unsigned_abs()
    }

    /// How long ago is that? In the same units; of what is unknown, nothing. Any context but NMI.
    #[inline]
    pub(crate) fn age(self) -> u32 {
        self.age_at(Self::now())
    }

    /// How long before is that?
    pub(crate) fn age_at(self, now: Self) -> u32 {
        let age = now.0.wrapping_sub(self.0);
        if self == Self::UNKNOWN || age > u32::MAX / 2 {
            0
        } else {
            age
        }
    }
}

#[kernel::macros::kunit_tests(fastsocket_stamp)]
mod tests {
    use super::*;

    #[test]
    fn orders_over_the_end_of_numbers() {
        let (old, new) = (Stamp(u32::MAX - 1), Stamp(3));
        assert!(old.is_before(new) && !new.is_before(old) && !old.is_before(old));
    }

    #[test]
    fn what_is_unknown_was_before() {
        let now = Stamp::now();
        assert!(Stamp::UNKNOWN.is_before(now) && !now.is_before(Stamp::UNKNOWN));
        assert!(!Stamp::UNKNOWN.is_before(Stamp::UNKNOWN));
        assert_eq!(Stamp::UNKNOWN.age(), 0);
    }

    #[test]
    fn long_before_is_more_than_before() {
        let (old, new) = (Stamp(u32::MAX - 1), Stamp(3));
        assert!(old.is_long_before(new, 4) && !old.is_long_before(new, 5));
        assert!(!new.is_long_before(old, 0) && !old.is_long_before(old, 0));
        assert!(!Stamp::UNKNOWN.is_long_before(new, 0) && !old.is_long_before(Stamp::UNKNOWN, 0));
        assert!(old.is_recent(new, 5) && !old.is_recent(new, 4) && old.is_recent(old, 0));
        assert!(!new.is_recent(old, u32::MAX / 2) && !Stamp::UNKNOWN.is_recent(new, u32::MAX));
    }

    #[test]
    fn goes_on() {
        let before = Stamp::now();
        assert!(!Stamp::now().is_before(before));
        assert!(before.age() < u32::MAX / 2);
    }
}
