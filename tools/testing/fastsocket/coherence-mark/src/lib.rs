// SPDX-License-Identifier: GPL-2.0

//! Marks: what a program in the guest says to the coherence plugin.
//!
//! A mark is a NOP of eight bytes, `nopl MARK(%rax,%rax,1)`, whose displacement
//! no assembler writes: theirs is zero. Any program may execute it, it reads
//! no memory and changes no flag, and outside the emulator it costs what a NOP
//! costs. The plugin finds it when QEMU translates the instruction, so that the
//! rest of the guest pays nothing for the search either. `cpuid` would serve
//! too, but it serialises the processor and leaves a virtual machine.
//!
//! A number is said by repetition: one [`Mark::Unit`] for each connection that
//! is complete, so that the plugin has counted them itself.

#![no_std]

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The workload begins to warm up: follow the caches, from empty ones.
    Warm = 1,
    /// Count from here.
    Begin = 2,
    /// A connection, or whatever the counts are to be divided by.
    Unit = 3,
    /// Count to here.
    End = 4,
}

/// The length of a mark in bytes.
pub const LEN: usize = 8;

/// The upper bytes of the displacement.
const MAGIC: u32 = 0x4673_6b00;

impl Mark {
    /// The instruction.
    pub const fn encoding(self) -> [u8; LEN] {
        let d = (MAGIC | self as u32).to_le_bytes();
        [0x0f, 0x1f, 0x84, 0x00, d[0], d[1], d[2], d[3]]
    }

    /// The mark that an instruction is, if it is one.
    pub fn decode(insn: &[u8]) -> Option<Self> {
        [Self::Warm, Self::Begin, Self::Unit, Self::End]
            .into_iter()
            .find(|mark| insn == mark.encoding())
    }
}

macro_rules! say {
    ($($(#[$doc:meta])* $name:ident = $mark:ident;)*) => {$(
        $(#[$doc])*
        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        pub fn $name() {
            // SAFETY: a NOP. Memory is not named as untouched, so that the compiler
            // moves no access across the mark.
            unsafe {
                core::arch::asm!(
                    ".byte 0x0f, 0x1f, 0x84, 0x00",
                    ".long {}",
                    const MAGIC | Mark::$mark as u32,
                    options(nostack, preserves_flags)
                );
            }
        }
    )*};
}

say! {
    /// Says [`Mark::Warm`].
    warm = Warm;
    /// Says [`Mark::Begin`].
    begin = Begin;
    /// Says [`Mark::Unit`].
    unit = Unit;
    /// Says [`Mark::End`].
    end = End;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        for mark in [Mark::Warm, Mark::Begin, Mark::Unit, Mark::End] {
            assert_eq!(Mark::decode(&mark.encoding()), Some(mark));
        }
    }

    #[test]
    fn an_assemblers_nop_is_no_mark() {
        assert_eq!(Mark::decode(&[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0]), None);
        assert_eq!(Mark::decode(&[0x90]), None);
        assert_eq!(Mark::decode(&[]), None);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn what_is_assembled_is_the_encoding() {
        #[inline(never)]
        extern "C" fn said() {
            unit();
        }
        let code = said as extern "C" fn() as *const u8;
        // SAFETY: the function's own code, which is at least a mark and a return; a
        // prologue may come before them, and the program's text does not end here.
        let bytes = unsafe { core::slice::from_raw_parts(code, 32) };
        assert!(bytes.windows(LEN).any(|w| w == Mark::Unit.encoding()));
    }
}
