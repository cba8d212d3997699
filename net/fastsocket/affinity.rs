// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Which CPU a task serves.
//!
//! A task becomes a consumer when it first waits at a spawned socket. With `enable_listen_spawn=2` it is
//! then bound to a CPU of those that it is allowed on: the one that is served least for this socket, and of
//! equal ones for all. What it is bound to at that moment says nothing: a forked child has inherited that
//! from its parent. What the user asked for, and cpusets, count ([`Cpus::wish`]).
//!
//! A task that is bound here stays so until its user says otherwise, by `sched_setaffinity(2)`. What the
//! kernel does to it by itself is undone: when a CPU goes offline it lets those that were bound to it
//! run anywhere, whatever their users had asked for, and when one goes or comes it binds and unbinds the
//! tasks of a cpuset anew. ([`Consumers::displace`], [`Consumers::repair`]) Children and threads are not
//! bound ([`Consumers::spare`]), nor is the program that a task executes ([`Consumers::forget`]).
//!
//! Each consumer is found by its task, and the consumers of a CPU are counted, so that nobody waits for a
//! walk over the tasks of others. Only when a CPU comes or goes, or the module, are all gone through.
//!
//! What is known of a task has a mutex of its own, held while the task is bound. The table of all has a
//! spinlock: a task that others let not run, or that its cgroup does not, keeps nobody else waiting.

use core::ptr;
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    cpu::{self, CpuId},
    cpumask, new_mutex, new_spinlock,
    prelude::*,
    rbtree::{RBTree, RBTreeNode},
    sync::{Arc, Mutex, SpinLock},
    task::Task,
    types::ARef,
};

use crate::ffi::{self, TaskState};

/// How many listening sockets get an accept queue per CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// None.
    Off,
    /// Those that tasks serve that somebody has bound to one CPU.
    Bound,
    /// All: a task that serves one is bound to a CPU.
    Bind,
}

impl Mode {
    /// What `enable_listen_spawn` says.
    pub(crate) fn get() -> Self {
        match *crate::module_parameters::enable_listen_spawn.value() {
            0 => Self::Off,
            1 => Self::Bound,
            _ => Self::Bind,
        }
    }
}

/// A set of CPUs.
#[derive(PartialEq, Eq)]
pub(crate) struct Cpus(KVec<usize>);

impl Cpus {
    fn empty() -> Result<Self> {
        let mut bits = KVec::new();
        for _ in 0..cpu::nr_cpu_ids().div_ceil(usize::BITS) {
            bits.push(0, GFP_KERNEL)?;
        }
        Ok(Self(bits))
    }

    /// The CPUs that the user, the cpuset and the boot line leave to a task, and that are online.
    /// Process context, may sleep.
    pub(crate) fn wish(task: &Task) -> Result<Self> {
        let mut cpus = Self::empty()?;
        ffi::wish(task, &mut cpus.0)?;
        Ok(cpus)
    }

    /// Is a CPU in the set?
    pub(crate) fn has(&self, cpu: CpuId) -> bool {
        let bit = cpu.as_u32();
        match self.0.get((bit / usize::BITS) as usize) {
            Some(word) => word >> (bit % usize::BITS) & 1 == 1,
            None => false,
        }
    }

    fn iter(&self) -> impl Iterator<Item = CpuId> + '_ {
        cpumask::possible_cpus().filter(|cpu| self.has(*cpu))
    }
}

/// Returns the CPU that is used least: `here` if it is one of those, else the first.
fn least_used<U: Ord>(
    cpus: impl Iterator<Item = CpuId>,
    use_of: impl Fn(CpuId) -> U,
    here: CpuId,
) -> Option<CpuId> {
    // Of equal keys, min_by_key() takes the first.
    cpus.min_by_key(|cpu| (use_of(*cpu), *cpu != here))
}

/// What the user has asked for a task by `sched_setaffinity(2)`.
struct Asked {
    /// Which call that was, 0 if none.
    call: usize,
    cpus: Cpus,
}

impl Asked {
    /// Process context; may sleep.
    fn of(task: &Task) -> Result<Self> {
        let mut cpus = Cpus::empty()?;
        let call = ffi::asked(task, &mut cpus.0)?;
        Ok(Self { call, cpus })
    }

    /// Has the user asked for something else since? That the kernel has forgotten it is no answer.
    fn is_over(&self, now: &Asked) -> bool {
        now.call != 0 && (now.call != self.call || now.cpus != self.cpus)
    }
}

/// A task that serves a CPU.
struct Consumer {
    task: ARef<Task>,
    cpu: CpuId,
    /// It was bound here, when the user had asked for this, and nothing else since. [`None`] if it is
    /// the user who has the say.
    bound: Option<Asked>,
    /// It was bound here at some time.
    was_bound: bool,
}

impl Consumer {
    fn is_gone(&self) -> bool {
        ffi::task_state(&self.task) == TaskState::Gone
    }

    /// Is it to be bound to its CPU? Gives the kernel back what it has forgotten of the user's wish when
    /// the CPU went. Process context; sleeps.
    fn is_ours(&mut self) -> Result<bool> {
        let Some(asked) = &mut self.bound else {
            return Ok(false);
        };
        let now = Asked::of(&self.task)?;
        if asked.is_over(&now) {
            self.bound = None;
            return Ok(false);
        }
        if now.call == 0 && asked.call != 0 {
            ffi::ask(&self.task, &asked.cpus.0)?;
            *asked = Asked::of(&self.task)?;
        }
        Ok(true)
    }

    /// Lets it run where the user wishes, if it is bound here. Process context; sleeps.
    fn release(&mut self) -> Result {
        if self.is_ours()? {
            ffi::unpin(&self.task)?;
        }
        Ok(())
    }

    /// Binds it to its CPU, if that can be. Process context; sleeps.
    fn bind(&mut self) -> Result {
        if !self.is_ours()? || !Cpus::wish(&self.task)?.has(self.cpu) {
            return Ok(());
        }
        if ffi::bound_cpu_of(&self.task) != Some(self.cpu) {
            ffi::pin(&self.task, self.cpu)?;
        }
        // The user may have asked, or the cpuset have changed, meanwhile.
        if !self.is_ours()? || !Cpus::wish(&self.task)?.has(self.cpu) {
            self.bound = None;
            ffi::unpin(&self.task)?;
        }
        Ok(())
    }
}

/// How many consumers each CPU has.
struct Users(KVec<usize>);

impl Users {
    fn new() -> Result<Self> {
        let mut users = KVec::new();
        for _ in 0..cpu::nr_cpu_ids() {
            users.push(0, GFP_KERNEL)?;
        }
        Ok(Self(users))
    }

    fn of(&self, cpu: CpuId) -> usize {
        self.0.get(cpu.index()).copied().unwrap_or(0)
    }

    fn add(&mut self, cpu: CpuId) {
        if let Some(users) = self.0.get_mut(cpu.index()) {
            *users = users.saturating_add(1);
        }
    }

    fn sub(&mut self, cpu: CpuId) {
        if let Some(users) = self.0.get_mut(cpu.index()) {
            *users = users.saturating_sub(1);
        }
    }
}

/// What a consumer is found by.
fn key(task: &Task) -> usize {
    ptr::from_ref(task) as usize
}

/// The tasks that wait at spawned sockets, each once, however many sockets it serves.
#[pin_data]
pub(crate) struct Consumers {
    #[pin]
    table: SpinLock<Table>,
}

struct Table {
    tasks: RBTree<usize, Arc<Mutex<Consumer>>>,
    users: Users,
}

impl Consumers {
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            table <- new_spinlock!(
                Table {
                    tasks: RBTree::new(),
                    users: Users::new()?,
                },
                "fastsocket::consumers"
            ),
        })
    }

    fn find(&self, task: &Task) -> Option<Arc<Mutex<Consumer>>> {
        self.table.lock().tasks.get(&key(task)).cloned()
    }

    /// Calls a function for each; those that come or go meanwhile may be left out. Process context; sleeps.
    fn each(&self, mut f: impl FnMut(&mut Consumer)) {
        let mut from = 0;
        loop {
            let mut table = self.table.lock();
            let at = table.tasks.cursor_lower_bound(&from);
            let found = at.map(|at| (*at.current().0, at.current().1.clone()));
            drop(table);
            let Some((key, consumer)) = found else { return };
            let mut consumer = consumer.lock();
            if !consumer.is_gone() {
                f(&mut consumer);
            }
            from = key.wrapping_add(1);
        }
    }

    /// A task exits, or executes another program, which runs where the user wishes. Process context;
    /// sleeps.
    pub(crate) fn forget(&self, task: &Task) {
        ffi::set_served_cpu(task, None);
        let known = self.table.lock().tasks.remove(&key(task));
        let Some(known) = known else { return };
        let mut consumer = known.lock();
        self.table.lock().users.sub(consumer.cpu);
        if !consumer.is_gone() {
            // Without memory, it stays bound until its user says otherwise.
            let _ = consumer.release();
        }
        // Nor is it bound by who has found it before.
        consumer.bound = None;
    }

    /// A CPU is about to go offline. Process context; sleeps.
    pub(crate) fn displace(&self, cpu: CpuId) {
        self.each(|consumer| {
            if consumer.cpu == cpu {
                // Without memory, the task runs wherever the kernel lets it.
                let _ = consumer.release();
            }
        });
    }

    /// A CPU came or went. Process context; sleeps.
    pub(crate) fn repair(&self) {
        self.each(|consumer| {
            // What cannot be bound is served all the same.
            let _ = consumer.bind();
        });
    }

    /// Lets all run where their users wish: the module goes. Process context; sleeps.
    pub(crate) fn release(&self) {
        self.each(|consumer| {
            ffi::set_served_cpu(&consumer.task, None);
            // Without memory, the task stays bound until its user says otherwise.
            let _ = consumer.release();
        });
        let tasks = core::mem::take(&mut self.table.lock().tasks);
        drop(tasks);
    }

    /// Lets a child or thread that the current task has made, and that has not run yet, run where the
    /// user wishes, if it is bound because its parent was. Process context; sleeps.
    pub(crate) fn spare(&self, child: &Task) {
        ffi::set_served_cpu(child, None);
        let Some(parent) = self.find(kernel::current!()) else {
            // It was let go meanwhile, but after the child had got its CPUs.
            let _ = ffi::unpin(child);
            return;
        };
        let mut parent = parent.lock();
        if !parent.was_bound || ffi::bound_cpu_of(child) != Some(parent.cpu) {
            return;
        }
        let mut free = || {
            if parent.is_ours()? && Asked::of(child)?.call == 0 {
                if let Some(asked) = parent.bound.as_ref().filter(|asked| asked.call != 0) {
                    // The kernel forgot it before it was handed down.
                    return ffi::ask(child, &asked.cpus.0);
                }
            }
            ffi::unpin(child)
        };
        // Without memory, it is bound like its parent.
        let _ = free();
    }

    /// Makes the current task a consumer of a CPU, and returns what is known of it then.
    ///
    /// `choose` says which, by who serves which CPU, and which one this task served before; if it says none,
    /// all stays as it is. Process context; sleeps.
    fn note(
        &self,
        choose: impl FnOnce(&Users, Option<CpuId>) -> Option<CpuId>,
        bound: Option<Asked>,
    ) -> Result<Option<Arc<Mutex<Consumer>>>> {
        let task = kernel::current!();
        let (known, node) = match self.find(task) {
            Some(known) => (known, None),
            None => {
                let new = Consumer {
                    task: task.into(),
                    cpu: CpuId::current(),
                    bound: None,
                    was_bound: false,
                };
                let new = new_mutex!(new, "fastsocket::consumer");
                let known = Arc::pin_init(new, GFP_KERNEL_ACCOUNT)?;
                let node = RBTreeNode::new(key(task), known.clone(), GFP_KERNEL_ACCOUNT)?;
                (known, Some(node))
            }
        };

        let mut consumer = known.lock();
        let mut table = self.table.lock();
        let before = node.is_none().then_some(consumer.cpu);
        let Some(cpu) = choose(&table.users, before) else {
            return Ok(None);
        };
        if let Some(before) = before {
            table.users.sub(before);
        }
        table.users.add(cpu);
        if let Some(node) = node {
            // Nobody but the task itself adds it: there is no other to be replaced.
            table.tasks.insert(node);
        }
        drop(table);

        consumer.cpu = cpu;
        consumer.was_bound |= bound.is_some();
        consumer.bound = bound;
        drop(consumer);
        ffi::set_served_cpu(task, Some(cpu));
        Ok(Some(known))
    }

    /// Makes the current task a consumer of a CPU, and returns which; [`None`] if it is to be none.
    ///
    /// `wanted` is the CPU that it asked for. Of others, it gets the one that is `served` least for the socket that
    /// it waits at, and of equal ones that which the fewest tasks serve for any socket: so nobody decides where
    /// others go by being there before them. Process context; sleeps, and may move the task.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `wanted` is not to be had, `ENOMEM`, or why the task cannot be bound.
    pub(crate) fn place<S: Ord>(
        &self,
        mode: Mode,
        wanted: Option<CpuId>,
        served: impl Fn(CpuId) -> S,
    ) -> Result<Option<CpuId>> {
        let bound = ffi::bound_cpu();
        let task = kernel::current!();

        // What the user wishes may be forgotten.
        if let Some(known) = self.find(task) {
            known.lock().is_ours()?;
        }
        if mode == Mode::Bound {
            let cpu = match (wanted, bound) {
                (Some(cpu), Some(at)) if cpu == at => cpu,
                (Some(_), _) => return Err(EINVAL),
                (None, Some(at)) => at,
                (None, None) => return Ok(None),
            };
            self.note(|_, _| Some(cpu), None)?;
            return Ok(Some(cpu));
        }
        if mode == Mode::Off {
            return Ok(None);
        }

        let wish = Cpus::wish(task)?;
        let here = CpuId::current();
        let choose = |users: &Users, before: Option<CpuId>| match wanted {
            Some(cpu) => wish.has(cpu).then_some(cpu),
            // A CPU that was chosen before stays, for all the sockets that a task serves.
            None => before
                .filter(|cpu| bound == Some(*cpu) && wish.has(*cpu))
                .or_else(|| least_used(wish.iter(), |cpu| (served(cpu), users.of(cpu)), here)),
        };
        let Some(known) = self.note(choose, Some(Asked::of(task)?))? else {
            return wanted.map_or(Ok(None), |_| Err(EINVAL));
        };
        let mut consumer = known.lock();
        let cpu = consumer.cpu;
        if let Err(e) = consumer.bind() {
            // Nor is it to be tried again behind its back.
            consumer.bound = None;
            return Err(e);
        }
        Ok((ffi::bound_cpu() == Some(cpu)).then_some(cpu))
    }
}

#[kernel::macros::kunit_tests(fastsocket_affinity)]
mod tests {
    use super::*;

    /// Numbers that need not be possible CPUs here: nothing is looked up by them.
    fn cpus(numbers: &'static [u32]) -> impl Iterator<Item = CpuId> {
        // SAFETY: They are only compared.
        numbers
            .iter()
            .map(|n| unsafe { CpuId::from_u32_unchecked(*n) })
    }

    fn choose(allowed: &'static [u32], users: [usize; 4], here: u32) -> Option<u32> {
        // SAFETY: It is only compared.
        let here = unsafe { CpuId::from_u32_unchecked(here) };
        let users = |cpu: CpuId| users.get(cpu.index()).copied().unwrap_or(0);
        least_used(cpus(allowed), users, here).map(u32::from)
    }

    #[test]
    fn chooses_the_least_used_cpu() {
        assert_eq!(choose(&[0, 1, 2, 3], [1, 1, 0, 1], 0), Some(2));
        assert_eq!(choose(&[0, 1, 2, 3], [2, 1, 3, 4], 3), Some(1));
    }

    #[test]
    fn stays_here_if_that_is_as_good() {
        assert_eq!(choose(&[0, 1, 2, 3], [0, 0, 0, 0], 2), Some(2));
        assert_eq!(choose(&[0, 1, 2, 3], [1, 0, 1, 0], 3), Some(3));
        assert_eq!(choose(&[0, 1, 2, 3], [1, 0, 1, 0], 2), Some(1));
    }

    #[test]
    fn respects_what_is_allowed() {
        assert_eq!(choose(&[1, 3], [0, 5, 0, 4], 0), Some(3));
        assert_eq!(choose(&[2], [0, 0, 9, 0], 0), Some(2));
        assert_eq!(choose(&[], [0, 0, 0, 0], 0), None);
    }

    /// More workers than CPUs: each CPU gets its share.
    #[test]
    fn spreads_evenly() {
        let mut users = [0; 4];
        for _ in 0..12 {
            let Some(cpu) = choose(&[0, 1, 2, 3], users, 1) else {
                assert!(false, "no CPU was chosen");
                return;
            };
            if let Some(n) = users.get_mut(cpu as usize) {
                *n += 1;
            }
        }
        assert_eq!(users, [3, 3, 3, 3]);
    }

    #[test]
    fn users_are_counted_by_cpu() -> Result {
        let mut users = Users::new()?;
        for cpu in cpumask::possible_cpus() {
            assert_eq!(users.of(cpu), 0);
            users.sub(cpu);
            assert_eq!(users.of(cpu), 0, "there is nobody less than none");
            users.add(cpu);
            users.add(cpu);
            users.sub(cpu);
            assert_eq!(users.of(cpu), 1);
        }
        Ok(())
    }

    /// As when a task is placed, placed anew, and gone: the counts follow.
    #[test]
    fn a_consumer_counts_where_it_serves() -> Result {
        let task = kernel::current!();
        let consumers = KBox::pin_init(Consumers::new(), GFP_KERNEL)?;
        let users = |cpu| consumers.table.lock().users.of(cpu);
        let all = || cpumask::possible_cpus().map(users).sum::<usize>();
        let mut last = None;
        for cpu in cpumask::possible_cpus() {
            let mut seen = None;
            let choose = |_: &Users, before| {
                seen = before;
                Some(cpu)
            };
            consumers.note(choose, None)?;
            assert_eq!(seen, last);
            assert_eq!((users(cpu), all()), (1, 1));
            last = Some(cpu);
        }
        assert!(consumers.note(|_, _| None, None)?.is_none());
        assert_eq!(all(), 1, "none was chosen: nothing changes");
        consumers.forget(task);
        assert!(consumers.find(task).is_none());
        assert_eq!(all(), 0);
        // Once more does nothing.
        consumers.forget(task);
        assert_eq!(all(), 0);
        Ok(())
    }

    #[test]
    fn asking_again_is_noticed() -> Result {
        let asked = |call, word| {
            let mut cpus = Cpus::empty()?;
            if let Some(first) = cpus.0.first_mut() {
                *first = word;
            }
            Ok::<_, Error>(Asked { call, cpus })
        };
        let before = asked(7, 0b11)?;
        assert!(!before.is_over(&asked(7, 0b11)?));
        assert!(
            before.is_over(&asked(8, 0b11)?),
            "another call, for the same"
        );
        assert!(
            before.is_over(&asked(7, 0b10)?),
            "its number was used again"
        );
        assert!(!before.is_over(&asked(0, 0)?), "it was only forgotten");
        assert!(
            asked(0, 0)?.is_over(&asked(7, 0b11)?),
            "there was none before"
        );
        assert!(!asked(0, 0)?.is_over(&asked(0, 0)?));
        Ok(())
    }

    #[test]
    fn sets_hold_what_the_kernel_says() -> Result {
        let wish = Cpus::wish(kernel::current!())?;
        assert!(wish.iter().next().is_some(), "the test may run nowhere");
        for cpu in wish.iter() {
            assert!(cpumask::is_online(cpu), "cpu {} is offline", cpu);
        }
        assert!(Cpus::empty()?.iter().next().is_none());
        Ok(())
    }
}
