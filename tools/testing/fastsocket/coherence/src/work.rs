// SPDX-License-Identifier: GPL-2.0

//! What the kernel executes, and what for.

use crate::{
    entries::{Entries, Entry, PathId},
    executed::{Executed, Slot},
    guest::{self, Memory},
    hooks::{self, Hooks},
    raw,
    symbols::Symbols,
};
use std::collections::HashMap;

/// The idle threads, as the kernel calls them.
const IDLE: &str = "swapper";

/// Counts of instructions by path, and what is needed to follow the paths.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) hooks: Hooks,
    pub(crate) entries: Entries,
    pub(crate) executed: Executed,
    /// Where tasks have their names.
    task_name: Option<u64>,
    /// The functions of the system calls that were seen.
    calls: HashMap<u32, u64>,
}

impl Work {
    /// Follows as many processors, of which nothing is known. Without symbols all
    /// instructions are of one path. Slots stay what they are, since translated code has them.
    pub(crate) fn follow(&mut self, cpus: u32, memory: &impl Memory, symbols: Option<&Symbols>) {
        self.entries = Entries::new(cpus as usize);
        self.executed.clear();
        if let Some(symbols) = symbols {
            self.hooks = Hooks::new(symbols, &guest::softirqs(memory, symbols));
            self.task_name = guest::task_name_offset(memory, symbols);
        }
    }

    /// An instruction of the kernel.
    #[inline]
    pub(crate) fn count(&mut self, cpu: usize, slot: Slot) {
        self.executed.count(self.entries.path(cpu), slot);
    }

    /// A system call has come to its function.
    pub(crate) fn call_function(&mut self, cpu: usize, function: u64) {
        let path = self.entries.path(cpu);
        if let Some(Entry::Call(number)) = self.entries.paths().last(path) {
            self.calls.entry(*number).or_insert(function);
        }
    }

    /// From one task to another.
    pub(crate) fn switch(&mut self, cpu: usize, from: u64, to: u64, memory: &impl Memory) {
        let offset = self.task_name;
        let name = |task| guest::task_name(memory, task, offset?);
        self.entries.switch(cpu, from, to, name);
    }

    /// A task begins.
    pub(crate) fn begin_task(&mut self, cpu: usize, memory: &impl Memory) {
        let offset = self.task_name;
        let name = |task| guest::task_name(memory, task, offset?);
        self.entries.begin_task(cpu, name);
    }

    /// Counts from here.
    pub(crate) fn clear(&mut self) {
        self.entries.reset_counts();
        self.executed.clear();
    }

    /// What was counted, in the order of the names.
    pub(crate) fn take(&mut self, symbols: Option<&Symbols>) -> Vec<raw::Work> {
        let paths = self.entries.paths().ids();
        let mut work: Vec<_> = paths.filter_map(|path| self.of(path, symbols)).collect();
        work.sort_unstable();
        self.executed.clear();
        work
    }

    fn of(&self, path: PathId, symbols: Option<&Symbols>) -> Option<raw::Work> {
        let paths = self.entries.paths();
        let entries = paths.entries(path).into_iter();
        let executed = self.executed.of(path).into_iter();
        let work = raw::Work {
            path: entries.map(|entry| self.name(entry, symbols)).collect(),
            entered: paths.entered(path),
            executed: executed
                .map(|(code, count)| raw::Executed { code, count })
                .collect(),
        };
        (work.entered > 0 || !work.executed.is_empty()).then_some(work)
    }

    fn name(&self, entry: &Entry, symbols: Option<&Symbols>) -> String {
        match entry {
            Entry::Call(number) => {
                let function = self.calls.get(number);
                match function.and_then(|at| self.hooks.call_name(*at)) {
                    Some(name) => format!("syscall {name}"),
                    None => format!("syscall {number}"),
                }
            }
            Entry::Interrupt(code) => match symbols {
                Some(symbols) => hooks::interrupt_name(symbols, *code),
                None => format!("interrupt {code:#x}"),
            },
            Entry::Softirq(number) => hooks::softirq_name(*number),
            Entry::Thread(name) if name == IDLE => "idle".to_owned(),
            Entry::Thread(name) => format!("thread {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "\
ffffffff81000300 T __x64_sys_accept4
ffffffff81000400 T tcp_v4_rcv
ffffffff81800200 T asm_sysvec_apic_timer_interrupt
";
    const ACCEPT4: u64 = 0xffff_ffff_8100_0300;
    const TIMER: u64 = 0xffff_ffff_8180_0200;

    struct Nothing;

    impl Memory for Nothing {
        fn read(&self, _: u64, _: &mut [u8]) -> bool {
            false
        }
    }

    #[test]
    fn each_instruction_is_of_one_path() {
        let symbols = Symbols::parse(MAP);
        let mut work = Work::default();
        work.follow(2, &Nothing, Some(&symbols));
        let (a, b) = (work.executed.slot(ACCEPT4), work.executed.slot(TIMER));
        work.count(0, a);
        work.clear();
        work.entries.call(0, 288);
        work.count(0, a);
        work.call_function(0, ACCEPT4);
        work.entries.interrupt(0, TIMER);
        work.count(0, b);
        work.count(0, b);
        // Of an interrupt, no system call learns a name.
        work.call_function(0, TIMER);
        work.entries.leave(0);
        work.count(0, b);
        work.entries.call(1, 3);
        let executed = |code, count| raw::Executed { code, count };
        let of = |path: &[&str], entered, executed| raw::Work {
            path: path.iter().map(|name| (*name).to_owned()).collect(),
            entered,
            executed,
        };
        assert_eq!(
            work.take(Some(&symbols)),
            [
                of(&["syscall 3"], 1, vec![]),
                of(
                    &["syscall accept4"],
                    1,
                    vec![executed(ACCEPT4, 1), executed(TIMER, 1)]
                ),
                of(
                    &["syscall accept4", "interrupt apic_timer_interrupt"],
                    1,
                    vec![executed(TIMER, 2)]
                ),
            ]
        );
    }

    #[test]
    fn threads_are_named_and_one_is_idle() {
        let work = Work::default();
        let name = |name: &str| work.name(&Entry::Thread(name.into()), None);
        assert_eq!(name("swapper"), "idle");
        assert_eq!(name("ksoftirqd"), "thread ksoftirqd");
        assert_eq!(work.name(&Entry::Softirq(1), None), "softirq timer");
    }
}
