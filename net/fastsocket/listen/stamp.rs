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
    /// Any context but NMI.
    #[inline]
    pub(crate) fn now() -> Self {
        // CAST: The low bits are what is wanted.
        Self((Ktime::ktime_get().to_ns() >> 10) as u32)
    }

    pub(crate) fn is_before(self, other: Self) -> bool {
        (1..=u32::MAX / 2).contains(&other.0.wrapping_sub(self.0))
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
    fn goes_on() {
        let before = Stamp::now();
        assert!(!Stamp::now().is_before(before));
    }
}
