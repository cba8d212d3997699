// SPDX-License-Identifier: GPL-2.0

//! How often each instruction was executed on each path of [`crate::entries`].

use crate::entries::PathId;
use std::collections::HashMap;

/// The place of an instruction in [`Executed`].
pub type Slot = usize;

/// Counts by path and instruction.
#[derive(Default)]
pub struct Executed {
    slots: HashMap<u64, Slot>,
    addresses: Vec<u64>,
    counts: Vec<Vec<u64>>,
}

impl Executed {
    /// The slot of an instruction.
    pub fn slot(&mut self, address: u64) -> Slot {
        *self.slots.entry(address).or_insert_with(|| {
            self.addresses.push(address);
            self.addresses.len() - 1
        })
    }

    /// The address of the instruction that a slot is for.
    pub fn address(&self, slot: Slot) -> u64 {
        self.addresses[slot]
    }

    /// The instruction is executed.
    #[inline]
    pub fn count(&mut self, path: PathId, slot: Slot) {
        match self.counts.get_mut(path).and_then(|of| of.get_mut(slot)) {
            Some(count) => *count += 1,
            None => self.grow(path, slot),
        }
    }

    #[cold]
    fn grow(&mut self, path: PathId, slot: Slot) {
        if self.counts.len() <= path {
            self.counts.resize_with(path + 1, Vec::new);
        }
        let of = &mut self.counts[path];
        // Room for what is translated later.
        of.resize(of.len().max(2 * (slot + 1)), 0);
        of[slot] += 1;
    }

    /// Forgets all counts.
    pub fn clear(&mut self) {
        self.counts.clear();
    }

    /// What was executed on a path, by address.
    pub fn of(&self, path: PathId) -> Vec<(u64, u64)> {
        let counts = self.counts.get(path).map_or(&[][..], Vec::as_slice);
        let mut of: Vec<_> = self
            .addresses
            .iter()
            .copied()
            .zip(counts.iter().copied())
            .collect();
        of.retain(|(_, count)| *count > 0);
        of.sort_unstable();
        of
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_instructions_are_apart() {
        let mut executed = Executed::default();
        let (b, a) = (executed.slot(0xb), executed.slot(0xa));
        assert_eq!(executed.slot(0xb), b);
        assert_eq!(executed.address(a), 0xa);
        for (path, slot) in [(2, a), (0, a), (2, b), (2, a)] {
            executed.count(path, slot);
        }
        assert_eq!(executed.of(0), [(0xa, 1)]);
        assert_eq!(executed.of(1), []);
        assert_eq!(executed.of(2), [(0xa, 2), (0xb, 1)]);
        assert_eq!(executed.of(9), []);
    }

    #[test]
    fn what_is_cleared_is_counted_anew() {
        let mut executed = Executed::default();
        let slot = executed.slot(0xa);
        executed.count(0, slot);
        executed.clear();
        assert_eq!(executed.of(0), []);
        let later = executed.slot(0xc);
        executed.count(0, later);
        executed.count(0, slot);
        assert_eq!(executed.of(0), [(0xa, 1), (0xc, 1)]);
    }
}
