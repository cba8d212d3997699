// SPDX-License-Identifier: GPL-2.0

//! Under which entry into the kernel its instructions are executed.
//!
//! The kernel runs because a program made a system call, because an interrupt or an
//! exception came, or because a thread of its own does; and within these for a softirq.
//! Entries nest: an interrupt comes during a system call, and a softirq runs at its
//! end. A [`PathId`] stands for all of them, outermost first. An instruction belongs to one
//! path, so that the counts of all paths have the total as their sum.
//!
//! Entries belong to the task, and not to the CPU: what is blocked in a system call takes
//! its entries along when another task runs, and has them back when it goes on.

use std::collections::HashMap;

/// Why the kernel runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entry {
    /// A system call, by its number.
    Call(u32),
    /// An interrupt or an exception, by the address of its entry code.
    Interrupt(u64),
    /// A softirq, by its place in `softirq_vec`.
    Softirq(u32),
    /// A thread of the kernel, by its name; `swapper` is idle.
    Thread(String),
}

/// A place in [`Paths`].
pub type PathId = usize;

/// No entry is known.
pub const ROOT: PathId = 0;

struct Node {
    parent: PathId,
    entry: Option<Entry>,
    entered: u64,
}

/// Every path that there was.
pub struct Paths {
    nodes: Vec<Node>,
    known: HashMap<(PathId, Entry), PathId>,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            nodes: vec![Node {
                parent: ROOT,
                entry: None,
                entered: 0,
            }],
            known: HashMap::new(),
        }
    }
}

impl Paths {
    /// The path to `entry` within `parent`.
    fn child(&mut self, parent: PathId, entry: Entry) -> PathId {
        let Self { nodes, known } = self;
        *known.entry((parent, entry.clone())).or_insert_with(|| {
            nodes.push(Node {
                parent,
                entry: Some(entry),
                entered: 0,
            });
            nodes.len() - 1
        })
    }

    /// The entries of a path, outermost first.
    pub fn entries(&self, path: PathId) -> Vec<&Entry> {
        let mut entries = Vec::new();
        let mut node = &self.nodes[path];
        while let Some(entry) = &node.entry {
            entries.push(entry);
            node = &self.nodes[node.parent];
        }
        entries.reverse();
        entries
    }

    /// The innermost entry of a path.
    pub fn last(&self, path: PathId) -> Option<&Entry> {
        self.nodes[path].entry.as_ref()
    }

    /// How often the last entry of a path was entered.
    pub fn entered(&self, path: PathId) -> u64 {
        self.nodes[path].entered
    }

    /// All, [`ROOT`] first.
    pub fn ids(&self) -> std::ops::Range<PathId> {
        ROOT..self.nodes.len()
    }
}

/// Of a task, what it is in the kernel for.
#[derive(Default)]
struct Task {
    /// The path of the thread, and of what a program has not left yet.
    thread: PathId,
    /// Whether it is a program's: it has executed one of its own instructions, or
    /// made a system call.
    program: bool,
    open: Vec<PathId>,
}

/// A CPU.
#[derive(Default)]
struct Cpu {
    /// The address of the task, as soon as that is known.
    current: Option<u64>,
    task: Task,
    /// Of `task`, the path that instructions belong to.
    path: PathId,
}

impl Cpu {
    fn update(&mut self) {
        let Task {
            thread, program, ..
        } = self.task;
        let outside = if program { ROOT } else { thread };
        self.path = self.task.open.last().copied().unwrap_or(outside);
    }
}

/// Where all CPUs and all tasks are.
#[derive(Default)]
pub struct Entries {
    paths: Paths,
    cpus: Vec<Cpu>,
    /// Tasks that do not run, by address.
    waiting: HashMap<u64, Task>,
    unpaired: u64,
}

impl Entries {
    /// Nothing is known of any CPU.
    pub fn new(cpus: usize) -> Self {
        Self {
            cpus: (0..cpus).map(|_| Cpu::default()).collect(),
            ..Self::default()
        }
    }

    /// Every path that there was.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// How often the kernel was left without a return that was seen, or entered by a
    /// program that had not left it. It says that something is not known here.
    pub fn unpaired(&self) -> u64 {
        self.unpaired
    }

    /// Forgets how often there was what.
    pub fn reset_counts(&mut self) {
        self.unpaired = 0;
        for node in &mut self.paths.nodes {
            node.entered = 0;
        }
    }

    /// The path of what a CPU executes.
    #[inline]
    pub fn path(&self, cpu: usize) -> PathId {
        self.cpus[cpu].path
    }

    fn enter(&mut self, cpu: usize, entry: Entry) {
        let cpu = &mut self.cpus[cpu];
        let path = self.paths.child(cpu.path, entry);
        self.paths.nodes[path].entered += 1;
        cpu.task.open.push(path);
        cpu.path = path;
    }

    /// An instruction of a program is executed: nothing of the task is in the kernel.
    #[inline]
    pub fn program(&mut self, cpu: usize) {
        let cpu = &mut self.cpus[cpu];
        if !cpu.task.open.is_empty() {
            self.unpaired += 1;
            cpu.task.open.clear();
        }
        cpu.task.program = true;
        cpu.path = ROOT;
    }

    /// A program makes a system call.
    pub fn call(&mut self, cpu: usize, number: u32) {
        self.program(cpu);
        self.enter(cpu, Entry::Call(number));
    }

    /// An interrupt or an exception comes, wherever the CPU is.
    pub fn interrupt(&mut self, cpu: usize, code: u64) {
        self.enter(cpu, Entry::Interrupt(code));
    }

    /// The entry code goes back to where a system call or an interrupt came from.
    pub fn leave(&mut self, cpu: usize) {
        let cpu = &mut self.cpus[cpu];
        while let Some(path) = cpu.task.open.pop() {
            let is_outer = |entry: &Entry| matches!(entry, Entry::Call(_) | Entry::Interrupt(_));
            if self.paths.last(path).is_some_and(is_outer) {
                break;
            }
        }
        cpu.update();
    }

    /// A softirq begins.
    pub fn softirq(&mut self, cpu: usize, number: u32) {
        self.enter(cpu, Entry::Softirq(number));
    }

    /// What calls softirqs is executed: none of them is, any more.
    pub fn between_softirqs(&mut self, cpu: usize) {
        let cpu = &mut self.cpus[cpu];
        let is_softirq = |entry: &Entry| matches!(entry, Entry::Softirq(_));
        if self.paths.last(cpu.path).is_some_and(is_softirq) {
            cpu.task.open.pop();
            cpu.update();
        }
    }

    /// Another task runs from here. `name` says what a task is called, for those that were
    /// not seen before.
    pub fn switch(&mut self, cpu: usize, from: u64, to: u64, name: impl Fn(u64) -> Option<String>) {
        let next = match self.waiting.remove(&to) {
            Some(task) => task,
            None => self.started(name(to)),
        };
        // What ran there before anything was known.
        let first = self.cpus[cpu]
            .current
            .is_none()
            .then(|| self.started(name(from)));
        let cpu = &mut self.cpus[cpu];
        let mut last = std::mem::replace(&mut cpu.task, next);
        if let Some(first) = first {
            last.thread = first.thread;
        }
        self.waiting.insert(from, last);
        cpu.current = Some(to);
        cpu.update();
    }

    fn started(&mut self, name: Option<String>) -> Task {
        let thread = name.map(|name| self.paths.child(ROOT, Entry::Thread(name)));
        Task {
            thread: thread.unwrap_or(ROOT),
            ..Task::default()
        }
    }

    /// The task that runs is new, whatever was at its address before. `name` is given that.
    pub fn begin_task(&mut self, cpu: usize, name: impl FnOnce(u64) -> Option<String>) {
        let name = self.cpus[cpu].current.and_then(name);
        let task = self.started(name);
        let cpu = &mut self.cpus[cpu];
        cpu.task = task;
        cpu.update();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Entry::{Call, Interrupt, Softirq, Thread};

    fn thread(name: &str) -> Entry {
        Thread(name.to_owned())
    }

    fn now(entries: &Entries, cpu: usize) -> Vec<Entry> {
        let path = entries.paths().entries(entries.path(cpu));
        path.into_iter().cloned().collect()
    }

    fn named(name: &'static str) -> impl Fn(u64) -> Option<String> {
        move |_| Some(name.to_owned())
    }

    fn known(_: u64) -> Option<String> {
        unreachable!("it is known")
    }

    /// Programs that are known to be programs, one on each CPU.
    fn programs(cpus: usize) -> Entries {
        let mut entries = Entries::new(cpus);
        for cpu in 0..cpus {
            entries.program(cpu);
        }
        entries
    }

    #[test]
    fn a_system_call_with_an_interrupt_and_its_softirq() {
        let mut e = programs(1);
        e.call(0, 42);
        assert_eq!(now(&e, 0), [Call(42)]);
        e.interrupt(0, 7);
        e.softirq(0, 3);
        assert_eq!(now(&e, 0), [Call(42), Interrupt(7), Softirq(3)]);
        e.between_softirqs(0);
        assert_eq!(now(&e, 0), [Call(42), Interrupt(7)]);
        // Nothing is to be left twice.
        e.between_softirqs(0);
        e.leave(0);
        assert_eq!(now(&e, 0), [Call(42)]);
        e.leave(0);
        assert_eq!(now(&e, 0), []);
        e.program(0);
        assert_eq!(e.unpaired(), 0);
    }

    #[test]
    fn an_interrupt_of_a_softirq_is_no_end_of_it() {
        let mut e = programs(1);
        e.call(0, 1);
        e.softirq(0, 3);
        e.interrupt(0, 7);
        e.between_softirqs(0);
        assert_eq!(now(&e, 0), [Call(1), Softirq(3), Interrupt(7)]);
        e.leave(0);
        assert_eq!(now(&e, 0), [Call(1), Softirq(3)]);
        e.softirq(0, 1);
        assert_eq!(now(&e, 0), [Call(1), Softirq(3), Softirq(1)]);
    }

    #[test]
    fn who_is_blocked_has_nothing_of_what_others_do() {
        let mut e = programs(2);
        e.call(0, 232);
        e.switch(0, 0xa, 0xb, named("swapper"));
        assert_eq!(now(&e, 0), [thread("swapper")]);
        e.interrupt(0, 7);
        assert_eq!(now(&e, 0), [thread("swapper"), Interrupt(7)]);
        // Out of the interrupt another task runs, and goes on where it was on another CPU.
        e.switch(0, 0xb, 0xc, named("rcu_preempt"));
        assert_eq!(now(&e, 0), [thread("rcu_preempt")]);
        e.switch(1, 0xd, 0xa, named("init"));
        assert_eq!(now(&e, 1), [Call(232)]);
        e.leave(1);
        e.program(1);
        e.switch(0, 0xc, 0xb, known);
        assert_eq!(now(&e, 0), [thread("swapper"), Interrupt(7)]);
        e.leave(0);
        assert_eq!(now(&e, 0), [thread("swapper")]);
        assert_eq!(e.unpaired(), 0);
    }

    #[test]
    fn who_ran_before_anything_was_known_is_known_when_it_is_left() {
        let mut e = Entries::new(1);
        assert_eq!(now(&e, 0), []);
        e.switch(0, 0xa, 0xb, |task| Some(format!("at {task:x}")));
        assert_eq!(now(&e, 0), [thread("at b")]);
        e.switch(0, 0xb, 0xa, known);
        assert_eq!(now(&e, 0), [thread("at a")]);
    }

    #[test]
    fn an_interrupt_of_a_program_is_under_nothing() {
        let mut e = Entries::new(1);
        e.switch(0, 0xa, 0xb, named("init"));
        assert_eq!(now(&e, 0), [thread("init")]);
        e.program(0);
        e.interrupt(0, 7);
        assert_eq!(now(&e, 0), [Interrupt(7)]);
        e.leave(0);
        // Before any instruction of the program.
        e.interrupt(0, 8);
        assert_eq!(now(&e, 0), [Interrupt(8)]);
    }

    #[test]
    fn a_new_task_has_nothing_of_the_old_one_at_its_address() {
        let mut e = programs(1);
        e.call(0, 60);
        e.switch(0, 0xa, 0xb, named("swapper"));
        e.switch(0, 0xb, 0xa, known);
        assert_eq!(now(&e, 0), [Call(60)]);
        e.begin_task(0, |task| Some(format!("at {task:x}")));
        assert_eq!(now(&e, 0), [thread("at a")]);
    }

    #[test]
    fn what_was_not_left_is_told() {
        let mut e = programs(1);
        e.call(0, 1);
        e.program(0);
        assert_eq!((e.unpaired(), now(&e, 0)), (1, vec![]));
        e.call(0, 1);
        e.call(0, 2);
        assert_eq!((e.unpaired(), now(&e, 0)), (2, vec![Call(2)]));
        // What was begun before anything was seen is left without harm.
        e.leave(0);
        e.leave(0);
        assert_eq!(now(&e, 0), []);
    }

    #[test]
    fn entries_are_counted() {
        let mut e = programs(2);
        for cpu in [0, 1, 0] {
            e.call(cpu, 1);
            e.leave(cpu);
        }
        let path = e.paths().ids().nth(1).unwrap();
        assert_eq!(e.paths().entered(path), 3);
        e.reset_counts();
        assert_eq!(e.paths().entered(path), 0);
        assert_eq!(e.paths().entries(ROOT), Vec::<&Entry>::new());
    }
}
