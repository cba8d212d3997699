// SPDX-License-Identifier: GPL-2.0

//! What has to be known of an x86-64 instruction, by its bytes.

/// What an instruction is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insn {
    /// It reads and writes in one ownership: a lock prefix, or `xchg` with memory.
    pub atomic: bool,
    /// A string instruction that repeats itself.
    pub repeats: bool,
    /// `pause`, which every loop that waits for another processor has.
    pub pause: bool,
    /// `iretq` or `sysretq`, which ends an interrupt or a system call.
    pub leaves: bool,
}

impl Insn {
    /// Looks at the bytes of one whole instruction.
    pub fn decode(bytes: &[u8]) -> Self {
        let (mut lock, mut rep, mut rex) = (false, false, 0);
        let mut rest = bytes;
        while let [first, tail @ ..] = rest {
            match first {
                0xf0 => lock = true,
                0xf2 | 0xf3 => rep = true,
                0x40..=0x4f => {
                    // The last prefix, if it is one at all.
                    rex = *first;
                    rest = tail;
                    break;
                }
                0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 => {}
                _ => break,
            }
            rest = tail;
        }
        let (opcode, modrm) = match rest {
            [opcode, modrm, ..] => (*opcode, *modrm),
            [opcode] => (*opcode, 0xc0),
            [] => return Self::default(),
        };
        Self {
            atomic: lock || (matches!(opcode, 0x86 | 0x87) && modrm < 0xc0),
            repeats: rep && matches!(opcode, 0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf),
            pause: bytes.first() == Some(&0xf3) && opcode == 0x90 && rex & 1 == 0,
            leaves: rex & 8 != 0 && (opcode == 0xcf || (opcode, modrm) == (0x0f, 0x07)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atomic(bytes: &[u8]) -> bool {
        let insn = Insn::decode(bytes);
        assert!(!insn.repeats && !insn.pause);
        insn.atomic
    }

    #[test]
    fn locked_instructions_are_atomic() {
        assert!(atomic(&[0xf0, 0xff, 0x07])); // lock incl (%rdi)
        assert!(atomic(&[0xf0, 0x48, 0x0f, 0xb1, 0x17])); // lock cmpxchg %rdx,(%rdi)
        assert!(atomic(&[0x65, 0xf0, 0x48, 0x83, 0x00, 0x01])); // lock addq $1,%gs:(%rax)
        assert!(!atomic(&[0xff, 0x07])); // incl (%rdi)
        assert!(!atomic(&[0x48, 0x0f, 0xb1, 0x17]));
    }

    #[test]
    fn xchg_with_memory_is_atomic() {
        assert!(atomic(&[0x87, 0x07])); // xchg %eax,(%rdi)
        assert!(atomic(&[0x48, 0x87, 0x47, 0x08]));
        assert!(atomic(&[0x86, 0x07]));
        assert!(!atomic(&[0x48, 0x87, 0xc8])); // xchg %rcx,%rax
        assert!(!atomic(&[0x0f, 0x87, 0, 0, 0, 0])); // ja
    }

    #[test]
    fn repeated_string_instructions() {
        assert!(Insn::decode(&[0xf3, 0xa4]).repeats); // rep movsb
        assert!(Insn::decode(&[0xf3, 0x48, 0xab]).repeats); // rep stosq
        assert!(Insn::decode(&[0xf2, 0xae]).repeats); // repnz scasb
        assert!(!Insn::decode(&[0x48, 0xab]).repeats);
        assert!(!Insn::decode(&[0xf3, 0xc3]).repeats); // rep ret
        assert!(!Insn::decode(&[0xf3, 0x0f, 0xa4]).repeats);
    }

    #[test]
    fn pause() {
        assert!(Insn::decode(&[0xf3, 0x90]).pause);
        assert!(!Insn::decode(&[0x90]).pause);
        assert!(!Insn::decode(&[0x66, 0x90]).pause);
        assert!(!Insn::decode(&[0xf3, 0x41, 0x90]).pause); // xchg %r8,%rax
    }

    #[test]
    fn ends_of_interrupts_and_system_calls() {
        assert!(Insn::decode(&[0x48, 0xcf]).leaves); // iretq
        assert!(Insn::decode(&[0x48, 0x0f, 0x07]).leaves); // sysretq
        assert!(!Insn::decode(&[0xcf]).leaves); // iret
        assert!(!Insn::decode(&[0x48, 0x0f, 0x05]).leaves); // syscall
        assert!(!Insn::decode(&[0xc3]).leaves);
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(Insn::decode(&[]), Insn::default());
        assert_eq!(Insn::decode(&[0xf0]), Insn::default());
    }
}
