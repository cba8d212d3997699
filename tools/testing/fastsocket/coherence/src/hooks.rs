// SPDX-License-Identifier: GPL-2.0

//! The instructions at which the kernel enters, leaves, or changes what it does: what
//! [`crate::entries`] has to be told of.
//!
//! They are found by symbol, as x86-64 has them in 6.12, and the softirqs by what
//! `softirq_vec` holds.

use crate::{insn::Insn, symbols::Symbols};
use std::{collections::HashMap, ops::Range};

/// What begins or ends at an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A system call, whose number is in `rax`.
    Call,
    /// The function of the system call.
    CallFunction,
    /// An interrupt or an exception.
    Interrupt,
    /// Back to where one of these came from, after this instruction.
    Leave,
    /// The softirq with this number.
    Softirq(u32),
    /// What calls softirqs, again.
    BetweenSoftirqs,
    /// Another task runs, from that in `rdi` to that in `rsi`.
    Switch,
    /// A task runs for the first time.
    BeginTask,
}

/// How the functions of system calls are called, before the system call's name.
const CALL: &str = "__x64_sys_";
/// How the entry code of interrupts and exceptions is.
const INTERRUPTS: [&str; 5] = [
    "asm_exc_",
    "asm_sysvec_",
    "asm_common_interrupt",
    "asm_spurious_interrupt",
    "asm_int80_",
];
/// Softirqs as `/proc/softirqs` has them, in that order.
const SOFTIRQS: [&str; 10] = [
    "hi", "timer", "net_tx", "net_rx", "block", "irq_poll", "tasklet", "sched", "hrtimer", "rcu",
];

/// How many softirqs there are.
pub const SOFTIRQ_COUNT: usize = SOFTIRQS.len();

/// Where which hook is.
#[derive(Default)]
pub struct Hooks {
    at: HashMap<u64, Hook>,
    calls: HashMap<u64, String>,
    between_softirqs: Range<u64>,
    entry_code: Range<u64>,
}

impl Hooks {
    /// With the functions that `softirq_vec` has, of which some may be zero.
    pub fn new(symbols: &Symbols, softirqs: &[u64]) -> Self {
        let (mut at, mut calls) = (HashMap::new(), HashMap::new());
        for (name, address) in symbols.named() {
            let hook = match name {
                "entry_SYSCALL_64" => Hook::Call,
                "__switch_to_asm" => Hook::Switch,
                "ret_from_fork_asm" => Hook::BeginTask,
                _ if name.starts_with(CALL) => Hook::CallFunction,
                _ if INTERRUPTS.iter().any(|start| name.starts_with(start)) => Hook::Interrupt,
                _ => continue,
            };
            at.insert(address, hook);
            // Some have other names as well.
            if let Some(call) = name.strip_prefix(CALL) {
                calls.insert(address, call.to_owned());
            }
        }
        for (number, address) in softirqs.iter().enumerate().filter(|(_, a)| **a != 0) {
            at.insert(*address, Hook::Softirq(number as u32));
        }
        let between = |start, end| symbols.find(start).zip(symbols.find(end));
        let entry_code = between("__entry_text_start", "__entry_text_end");
        Self {
            at,
            calls,
            between_softirqs: symbols.extent("handle_softirqs").unwrap_or_default(),
            entry_code: entry_code.map_or(0..0, |(start, end)| start..end),
        }
    }

    /// The hook at an instruction. `first` says whether a block of code begins with it.
    pub fn find(&self, address: u64, insn: Insn, first: bool) -> Option<Hook> {
        if insn.leaves && self.entry_code.contains(&address) {
            return Some(Hook::Leave);
        }
        if first && self.between_softirqs.contains(&address) {
            return Some(Hook::BetweenSoftirqs);
        }
        self.at.get(&address).copied()
    }

    /// What a system call is called, by the address of its function.
    pub fn call_name(&self, function: u64) -> Option<&str> {
        self.calls.get(&function).map(String::as_str)
    }
}

/// What an interrupt or an exception is called, by the address of its entry code.
pub fn interrupt_name(symbols: &Symbols, code: u64) -> String {
    let name = symbols.lookup(code).map_or("", |(name, _)| name);
    let name = name.strip_prefix("asm_").unwrap_or(name);
    match name.strip_prefix("exc_") {
        Some(exception) => format!("exception {exception}"),
        None => format!("interrupt {}", name.strip_prefix("sysvec_").unwrap_or(name)),
    }
}

/// What a softirq is called, by its number.
pub fn softirq_name(number: u32) -> String {
    match SOFTIRQS.get(number as usize) {
        Some(name) => format!("softirq {name}"),
        None => format!("softirq {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
ffffffff81000100 T __switch_to_asm
ffffffff81000200 T ret_from_fork_asm
ffffffff81000300 T __do_sys_accept4
ffffffff81000300 T __x64_sys_accept4
ffffffff81000400 t handle_softirqs
ffffffff81000500 T net_rx_action
ffffffff81800000 T __entry_text_start
ffffffff81800040 T entry_SYSCALL_64
ffffffff81800100 T asm_exc_page_fault
ffffffff81800200 T asm_sysvec_apic_timer_interrupt
ffffffff81800300 T asm_load_gs_index
ffffffff81800400 T __entry_text_end
";
    const TEXT: u64 = 0xffff_ffff_8100_0000;
    const ENTRY: u64 = 0xffff_ffff_8180_0000;

    #[test]
    fn hooks_are_found_by_symbol() {
        let mut softirqs = [0; SOFTIRQ_COUNT];
        softirqs[3] = TEXT + 0x500;
        let hooks = Hooks::new(&Symbols::parse(MAP), &softirqs);
        let at = |address| hooks.find(address, Insn::default(), false);
        assert_eq!(at(TEXT + 0x100), Some(Hook::Switch));
        assert_eq!(at(TEXT + 0x104), None);
        assert_eq!(at(TEXT + 0x200), Some(Hook::BeginTask));
        assert_eq!(at(TEXT + 0x300), Some(Hook::CallFunction));
        assert_eq!(at(TEXT + 0x500), Some(Hook::Softirq(3)));
        assert_eq!(at(ENTRY + 0x40), Some(Hook::Call));
        assert_eq!(at(ENTRY + 0x100), Some(Hook::Interrupt));
        assert_eq!(at(ENTRY + 0x200), Some(Hook::Interrupt));
        assert_eq!(at(ENTRY + 0x300), None);
        assert_eq!(at(0), None);
    }

    #[test]
    fn blocks_of_what_calls_softirqs_are_told() {
        let hooks = Hooks::new(&Symbols::parse(MAP), &[]);
        let at = |address, first| hooks.find(address, Insn::default(), first);
        assert_eq!(at(TEXT + 0x412, true), Some(Hook::BetweenSoftirqs));
        assert_eq!(at(TEXT + 0x412, false), None);
        assert_eq!(at(TEXT + 0x500, true), None);
    }

    #[test]
    fn only_entry_code_leaves() {
        let hooks = Hooks::new(&Symbols::parse(MAP), &[]);
        let iretq = Insn::decode(&[0x48, 0xcf]);
        assert_eq!(hooks.find(ENTRY + 0x180, iretq, false), Some(Hook::Leave));
        // The kernel may return to itself, to be sure of what it executes.
        assert_eq!(hooks.find(TEXT + 0x180, iretq, false), None);
    }

    #[test]
    fn without_symbols_there_is_no_hook() {
        let hooks = Hooks::new(&Symbols::default(), &[0; SOFTIRQ_COUNT]);
        assert_eq!(hooks.find(0, Insn::default(), true), None);
    }

    #[test]
    fn entries_have_names() {
        let symbols = Symbols::parse(MAP);
        let hooks = Hooks::new(&symbols, &[]);
        assert_eq!(hooks.call_name(TEXT + 0x300), Some("accept4"));
        assert_eq!(hooks.call_name(TEXT + 0x500), None);
        let name = |low| interrupt_name(&symbols, ENTRY + low);
        assert_eq!(name(0x100), "exception page_fault");
        assert_eq!(name(0x200), "interrupt apic_timer_interrupt");
        assert_eq!(softirq_name(3), "softirq net_rx");
        assert_eq!(softirq_name(10), "softirq 10");
    }
}
