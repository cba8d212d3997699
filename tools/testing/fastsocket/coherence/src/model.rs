// SPDX-License-Identifier: GPL-2.0

//! The caches: which processor has a copy of which line.
//!
//! Each processor has a cache of its own, without limit, so that nothing leaves
//! it but by what others do. What is counted is therefore sharing alone, and no
//! size or associativity is in the figures. Coherence is MESI's: a line is
//! *modified* in one cache, or *clean* in any number of them; exclusive is what
//! a clean line in one cache is.
//!
//! A **transfer** is one of
//! - a load of a line that another processor has modified: both have it then,
//!   clean;
//! - a store to a line of which others have copies: they lose them.
//!
//! A load of a line that others have clean is none, since memory or a shared
//! cache has it as well. An atomic reads and writes in one ownership, and is
//! at most one transfer. A store is one transfer however many copies it ends.

use serde::{Deserialize, Serialize};

/// The bits of an address within its line.
pub const LINE_SHIFT: u32 = 6;
/// The size of a line in bytes.
pub const LINE: u64 = 1 << LINE_SHIFT;
/// The most processors that can be followed.
pub const MAX_CPUS: u32 = u64::BITS;

/// What is done to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// A read.
    Load,
    /// A write.
    Store,
    /// A read and a write that nothing comes between.
    Atomic,
}

/// Lines are kept by blocks of as many as an integer has bits, a page of memory.
const BLOCK_SHIFT: u32 = 6;
const BLOCK: usize = 1 << BLOCK_SHIFT;

struct Block {
    /// The processors that have a copy of each line, a bit for each.
    holders: [u64; BLOCK],
    /// The lines that their one holder has modified.
    modified: u64,
}

/// All caches.
#[derive(Default)]
pub struct Model {
    /// Where in `blocks` each block of memory is, plus one; zero if it was never
    /// touched.
    index: Vec<u32>,
    blocks: Vec<Block>,
}

impl Model {
    /// Empty caches.
    pub fn new() -> Self {
        Self::default()
    }

    /// Does `access` to the line with the number `line` on processor `cpu`.
    /// Whether that was a transfer.
    #[inline]
    pub fn access(&mut self, cpu: u32, line: u64, access: Access) -> bool {
        debug_assert!(cpu < MAX_CPUS);
        let (me, bit) = (1u64 << cpu, (line as usize) & (BLOCK - 1));
        let block = self.block((line >> BLOCK_SHIFT) as usize);
        let holders = &mut block.holders[bit];
        let others = *holders & !me;
        let modified = block.modified >> bit & 1 != 0;
        match access {
            Access::Load => {
                let transfer = modified && others != 0;
                if transfer {
                    block.modified &= !(1 << bit);
                }
                *holders |= me;
                transfer
            }
            Access::Store | Access::Atomic => {
                *holders = me;
                block.modified |= 1 << bit;
                others != 0
            }
        }
    }

    #[inline]
    fn block(&mut self, number: usize) -> &mut Block {
        let at = match self.index.get(number) {
            Some(&at) if at != 0 => at,
            _ => self.first_touch(number),
        };
        &mut self.blocks[at as usize - 1]
    }

    #[cold]
    fn first_touch(&mut self, number: usize) -> u32 {
        if self.index.len() <= number {
            self.index.resize(number + 1, 0);
        }
        self.blocks.push(Block {
            holders: [0; BLOCK],
            modified: 0,
        });
        let at = u32::try_from(self.blocks.len()).expect("less memory than 16 TiB");
        self.index[number] = at;
        at
    }
}

/// The part of `size` bytes at `address` that is in the first line, and what
/// is in the second, if there is one. No access is longer than a line.
#[inline]
pub fn split(address: u64, size: u64) -> (u64, Option<u64>) {
    let last = address + size.saturating_sub(1);
    let second = last & !(LINE - 1);
    (address, (second > address).then_some(second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Access::{Atomic, Load, Store};

    /// Which accesses of a trace are transfers.
    fn run<const N: usize>(trace: [(u32, u64, Access); N]) -> [bool; N] {
        let mut model = Model::new();
        trace.map(|(cpu, line, access)| model.access(cpu, line, access))
    }

    #[test]
    fn memory_that_nobody_had_is_no_transfer() {
        assert_eq!(
            run([(0, 1, Load), (1, 2, Store), (2, 3, Atomic)]),
            [false; 3]
        );
    }

    #[test]
    fn one_processor_alone_never_transfers() {
        assert_eq!(
            run([
                (5, 9, Load),
                (5, 9, Store),
                (5, 9, Load),
                (5, 9, Atomic),
                (5, 9, Store)
            ]),
            [false; 5]
        );
    }

    #[test]
    fn a_clean_line_is_read_by_all() {
        assert_eq!(
            run([(0, 7, Load), (1, 7, Load), (63, 7, Load), (0, 7, Load)]),
            [false; 4]
        );
    }

    #[test]
    fn a_modified_line_is_fetched_once_by_each_that_has_it_not() {
        // The first reader takes it from the writer and leaves both clean, so that
        // the next finds it clean.
        assert_eq!(
            run([
                (0, 7, Store),
                (1, 7, Load),
                (1, 7, Load),
                (0, 7, Load),
                (2, 7, Load)
            ]),
            [false, true, false, false, false]
        );
    }

    #[test]
    fn a_store_ends_all_copies_in_one_transfer() {
        assert_eq!(
            run([
                (0, 7, Load),
                (1, 7, Load),
                (2, 7, Load),
                (0, 7, Store),
                (0, 7, Store),
                (1, 7, Load),
                (2, 7, Load),
            ]),
            [false, false, false, true, false, true, false]
        );
    }

    #[test]
    fn an_exclusive_copy_elsewhere_is_ended_too() {
        assert_eq!(run([(0, 7, Load), (1, 7, Store)]), [false, true]);
    }

    #[test]
    fn a_line_passed_around_by_atomics_moves_each_time() {
        assert_eq!(
            run([
                (0, 7, Atomic),
                (1, 7, Atomic),
                (1, 7, Store),
                (0, 7, Atomic),
                (0, 7, Load)
            ]),
            [false, true, false, true, false]
        );
    }

    #[test]
    fn a_read_and_a_write_that_are_two_are_two() {
        // Not locked: the load shares the line, the store takes it.
        assert_eq!(
            run([(0, 7, Store), (1, 7, Load), (1, 7, Store)]),
            [false, true, true]
        );
    }

    #[test]
    fn the_writer_that_reads_again_stays_the_owner() {
        assert_eq!(
            run([(0, 7, Store), (0, 7, Load), (1, 7, Load)]),
            [false, false, true]
        );
    }

    #[test]
    fn lines_are_apart() {
        // Neighbours in a block, in the next, and far away.
        assert_eq!(
            run([
                (0, 63, Store),
                (1, 62, Load),
                (1, 64, Store),
                (0, 64 << 20, Store),
                (1, 63, Load),
                (1, 64 << 20, Load),
                (0, 64, Load),
            ]),
            [false, false, false, false, true, true, true]
        );
    }

    #[test]
    fn an_access_is_split_at_the_line() {
        assert_eq!(split(0x1000, 8), (0x1000, None));
        assert_eq!(split(0x1038, 8), (0x1038, None));
        assert_eq!(split(0x1039, 8), (0x1039, Some(0x1040)));
        assert_eq!(split(0x0fff, 2), (0x0fff, Some(0x1000)));
        assert_eq!(split(0x1000, 1), (0x1000, None));
        assert_eq!(split(0x1000, 64), (0x1000, None));
    }
}
