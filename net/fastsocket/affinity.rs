// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Which CPU a task serves.
//!
//! A task becomes a consumer when it first waits at a spawned socket. With `enable_listen_spawn=2` it is
//! then bound to the CPU, of those that it is allowed on, that the fewest consumers serve. What it is
//! bound to at that moment says nothing: a forked child has inherited that from its parent. What the
//! user asked for, and cpusets, count ([`Cpus::wish`]).
//!
//! A task that is bound here stays so until its user says otherwise, by `sched_setaffinity(2)`. What the
//! kernel does to it by itself is undone: when a CPU goes offline it lets those that were bound to it
//! run anywhere, whatever their users had asked for, and when one goes or comes it binds and unbinds the
//! tasks of a cpuset anew. ([`Consumers::displace`], [`Consumers::repair`]) Children and threads are not
//! bound ([`Consumers::spare`]), nor is the program that a task executes ([`Consumers::forget`]).
//!
//! Each consumer is found by its task, and the consumers of a CPU are counted, so that nobody waits for a
//! walk over the tasks of others. Only when a CPU comes or goes, or the module, are all gone through.

use core::ptr;
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    cpu::{self, CpuId},
    prelude::*,
    rbtree::RBTree,
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
        match crate::module_parameters::enable_listen_spawn.value() {
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
        let bit = cpu.get();
        match self.0.get((bit / usize::BITS) as usize) {
            Some(word) => word >> (bit % usize::BITS) & 1 == 1,
            None => false,
        }
    }

    fn iter(&self) -> impl Iterator<Item = CpuId> + '_ {
        cpu::possible_cpus().filter(|cpu| self.has(*cpu))
    }
}

/// Returns the CPU that fewest serve: `here` if it is one of those, else the first.
fn least_used(
    cpus: impl Iterator<Item = CpuId>,
    users: impl Fn(CpuId) -> usize,
    here: CpuId,
) -> Option<CpuId> {
    // Of equal keys, min_by_key() takes the first.
    cpus.min_by_key(|cpu| (users(*cpu), *cpu != here))
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
pub(crate) struct Consumers {
    tasks: RBTree<usize, Consumer>,
    users: Users,
}

impl Consumers {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            tasks: RBTree::new(),
            users: Users::new()?,
        })
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Consumer> {
        self.tasks.values_mut().filter(|c| !c.is_gone())
    }

    fn find(&mut self, task: &Task) -> Option<&mut Consumer> {
        self.tasks.get_mut(&key(task))
    }

    /// The current task exits, or executes another program, which runs where the user wishes. Process
    /// context; sleeps.
    pub(crate) fn forget(&mut self, task: &Task) {
        ffi::set_served_cpu(task, None);
        if let Some(mut consumer) = self.tasks.remove(&key(task)) {
            self.users.sub(consumer.cpu);
            if !consumer.is_gone() {
                // Without memory, it stays bound until its user says otherwise.
                let _ = consumer.release();
            }
        }
    }

    /// A CPU is about to go offline. Process context; sleeps.
    pub(crate) fn displace(&mut self, cpu: CpuId) {
        for consumer in self.all().filter(|c| c.cpu == cpu) {
            // Without memory, the task runs wherever the kernel lets it.
            let _ = consumer.release();
        }
    }

    /// A CPU came or went. Process context; sleeps.
    pub(crate) fn repair(&mut self) {
        for consumer in self.all() {
            // What cannot be bound is served all the same.
            let _ = consumer.bind();
        }
    }

    /// Lets all run where their users wish: the module goes. Process context; sleeps.
    pub(crate) fn release(&mut self) {
        for consumer in self.all() {
            ffi::set_served_cpu(&consumer.task, None);
            // Without memory, the task stays bound until its user says otherwise.
            let _ = consumer.release();
        }
        self.tasks = RBTree::new();
    }

    /// Lets a child or thread that the current task has made, and that has not run yet, run where the
    /// user wishes, if it is bound because its parent was. Process context; sleeps.
    pub(crate) fn spare(&mut self, child: &Task) {
        ffi::set_served_cpu(child, None);
        let (task, bound) = (kernel::current!(), ffi::bound_cpu_of(child));
        let parent = self.find(task);
        let Some(parent) = parent.filter(|c| c.was_bound && Some(c.cpu) == bound) else {
            return;
        };
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

    fn cpu_of(&self, task: &Task) -> Option<CpuId> {
        self.tasks.get(&key(task)).map(|c| c.cpu)
    }

    fn note(&mut self, task: &Task, cpu: CpuId, bound: Option<Asked>) -> Result {
        let was_bound = bound.is_some();
        if let Some(known) = self.tasks.get_mut(&key(task)) {
            self.users.sub(known.cpu);
            known.cpu = cpu;
            known.bound = bound;
            known.was_bound |= was_bound;
        } else {
            let new = Consumer {
                task: task.into(),
                cpu,
                bound,
                was_bound,
            };
            self.tasks
                .try_create_and_insert(key(task), new, GFP_KERNEL_ACCOUNT)?;
        }
        self.users.add(cpu);
        ffi::set_served_cpu(task, Some(cpu));
        Ok(())
    }

    /// Makes the current task a consumer of a CPU, and returns which; [`None`] if it is to be none.
    ///
    /// `wanted` is the CPU that it asked for. Process context; sleeps, and may move the task.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `wanted` is not to be had, `ENOMEM`, or why the task cannot be bound.
    pub(crate) fn place(&mut self, mode: Mode, wanted: Option<CpuId>) -> Result<Option<CpuId>> {
        let bound = ffi::bound_cpu();
        let task = kernel::current!();

        // What the user wishes may be forgotten.
        if let Some(known) = self.find(task) {
            known.is_ours()?;
        }
        let cpu = match mode {
            Mode::Off => return Ok(None),
            Mode::Bound => match (wanted, bound) {
                (Some(cpu), Some(at)) if cpu == at => cpu,
                (Some(_), _) => return Err(EINVAL),
                (None, Some(at)) => at,
                (None, None) => return Ok(None),
            },
            Mode::Bind => {
                let wish = Cpus::wish(task)?;
                let cpu = match wanted {
                    Some(cpu) if wish.has(cpu) => cpu,
                    Some(_) => return Err(EINVAL),
                    // A CPU that was chosen before stays, for all the sockets that a task serves.
                    None => match self.cpu_of(task) {
                        Some(cpu) if bound == Some(cpu) && wish.has(cpu) => cpu,
                        _ => {
                            let users = |cpu| self.users.of(cpu);
                            let here = CpuId::current_hint();
                            match least_used(wish.iter(), users, here) {
                                Some(cpu) => cpu,
                                None => return Ok(None),
                            }
                        }
                    },
                };
                self.note(task, cpu, Some(Asked::of(task)?))?;
                let Some(consumer) = self.find(task) else {
                    return Ok(None);
                };
                if let Err(e) = consumer.bind() {
                    // Nor is it to be tried again behind its back.
                    consumer.bound = None;
                    return Err(e);
                }
                return Ok((ffi::bound_cpu() == Some(cpu)).then_some(cpu));
            }
        };
        self.note(task, cpu, None)?;
        Ok(Some(cpu))
    }
}

#[cfg(CONFIG_KUNIT)]
mod tests {
    use super::*;
    use kernel::{kunit_check, kunit_check_eq};

    /// Numbers that need not be possible CPUs here: nothing is looked up by them.
    fn cpus(numbers: &'static [u32]) -> impl Iterator<Item = CpuId> {
        // SAFETY: They are only compared.
        numbers.iter().map(|n| unsafe { CpuId::new_unchecked(*n) })
    }

    fn choose(allowed: &'static [u32], users: [usize; 4], here: u32) -> Option<u32> {
        // SAFETY: It is only compared.
        let here = unsafe { CpuId::new_unchecked(here) };
        let users = |cpu: CpuId| users.get(cpu.index()).copied().unwrap_or(0);
        least_used(cpus(allowed), users, here).map(CpuId::get)
    }

    fn chooses_the_least_used_cpu() {
        kunit_check_eq!(choose(&[0, 1, 2, 3], [1, 1, 0, 1], 0), Some(2));
        kunit_check_eq!(choose(&[0, 1, 2, 3], [2, 1, 3, 4], 3), Some(1));
    }

    fn stays_here_if_that_is_as_good() {
        kunit_check_eq!(choose(&[0, 1, 2, 3], [0, 0, 0, 0], 2), Some(2));
        kunit_check_eq!(choose(&[0, 1, 2, 3], [1, 0, 1, 0], 3), Some(3));
        kunit_check_eq!(choose(&[0, 1, 2, 3], [1, 0, 1, 0], 2), Some(1));
    }

    fn respects_what_is_allowed() {
        kunit_check_eq!(choose(&[1, 3], [0, 5, 0, 4], 0), Some(3));
        kunit_check_eq!(choose(&[2], [0, 0, 9, 0], 0), Some(2));
        kunit_check_eq!(choose(&[], [0, 0, 0, 0], 0), None);
    }

    /// More workers than CPUs: each CPU gets its share.
    fn spreads_evenly() {
        let mut users = [0; 4];
        for _ in 0..12 {
            let Some(cpu) = choose(&[0, 1, 2, 3], users, 1) else {
                kunit_check!(false, "no CPU was chosen");
                return;
            };
            if let Some(n) = users.get_mut(cpu as usize) {
                *n += 1;
            }
        }
        kunit_check_eq!(users, [3, 3, 3, 3]);
    }

    fn users_are_counted_by_cpu() -> Result {
        let mut users = Users::new()?;
        for cpu in cpu::possible_cpus() {
            kunit_check_eq!(users.of(cpu), 0);
            users.sub(cpu);
            kunit_check_eq!(users.of(cpu), 0, "there is nobody less than none");
            users.add(cpu);
            users.add(cpu);
            users.sub(cpu);
            kunit_check_eq!(users.of(cpu), 1);
        }
        Ok(())
    }

    /// As when a task is placed, placed anew, and gone: the counts follow.
    fn a_consumer_counts_where_it_serves() -> Result {
        let task = kernel::current!();
        let mut consumers = Consumers::new()?;
        for cpu in cpu::possible_cpus() {
            consumers.note(task, cpu, None)?;
            kunit_check_eq!(consumers.cpu_of(task), Some(cpu));
            let all = cpu::possible_cpus().map(|cpu| consumers.users.of(cpu));
            kunit_check_eq!(all.sum::<usize>(), 1);
            kunit_check_eq!(consumers.users.of(cpu), 1);
        }
        consumers.forget(task);
        kunit_check!(consumers.cpu_of(task).is_none());
        let all = cpu::possible_cpus().map(|cpu| consumers.users.of(cpu));
        kunit_check_eq!(all.sum::<usize>(), 0);
        // Once more does nothing.
        consumers.forget(task);
        Ok(())
    }

    fn asking_again_is_noticed() -> Result {
        let asked = |call, word| {
            let mut cpus = Cpus::empty()?;
            if let Some(first) = cpus.0.first_mut() {
                *first = word;
            }
            Ok::<_, Error>(Asked { call, cpus })
        };
        let before = asked(7, 0b11)?;
        kunit_check!(!before.is_over(&asked(7, 0b11)?));
        kunit_check!(
            before.is_over(&asked(8, 0b11)?),
            "another call, for the same"
        );
        kunit_check!(
            before.is_over(&asked(7, 0b10)?),
            "its number was used again"
        );
        kunit_check!(!before.is_over(&asked(0, 0)?), "it was only forgotten");
        kunit_check!(
            asked(0, 0)?.is_over(&asked(7, 0b11)?),
            "there was none before"
        );
        kunit_check!(!asked(0, 0)?.is_over(&asked(0, 0)?));
        Ok(())
    }

    fn sets_hold_what_the_kernel_says() -> Result {
        let wish = Cpus::wish(kernel::current!())?;
        kunit_check!(wish.iter().next().is_some(), "the test may run nowhere");
        for cpu in wish.iter() {
            kunit_check!(cpu::is_online(cpu), "cpu {} is offline", cpu);
        }
        kunit_check!(Cpus::empty()?.iter().next().is_none());
        Ok(())
    }

    kernel::kunit_tests! { fastsocket_affinity: [
        chooses_the_least_used_cpu,
        stays_here_if_that_is_as_good,
        respects_what_is_allowed,
        spreads_evenly,
        users_are_counted_by_cpu,
        a_consumer_counts_where_it_serves,
        asking_again_is_noticed,
        sets_hold_what_the_kernel_says,
    ] }
}
