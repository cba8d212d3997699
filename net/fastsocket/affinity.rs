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
//! bound ([`Consumers::spare`]).

use core::ptr;
use kernel::{
    cpu::{self, CpuId},
    prelude::*,
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
    fn is_over(&self, task: &Task) -> Result<bool> {
        let now = Self::of(task)?.call;
        Ok(now != 0 && now != self.call)
    }
}

/// A task that serves a CPU.
struct Consumer {
    task: ARef<Task>,
    cpu: CpuId,
    /// It was bound here, when the user had asked for this, and nothing else since. [`None`] if it is
    /// the user who has the say.
    bound: Option<Asked>,
}

impl Consumer {
    fn is_gone(&self) -> bool {
        ffi::task_state(&self.task) == TaskState::Gone
    }

    /// Is it to be bound to its CPU?
    fn is_ours(&mut self) -> Result<bool> {
        let Some(asked) = &self.bound else {
            return Ok(false);
        };
        if asked.is_over(&self.task)? {
            self.bound = None;
        }
        Ok(self.bound.is_some())
    }

    /// Its CPU is about to go: lets it run where the user wishes. A kernel thread; sleeps.
    fn displace(&mut self) -> Result {
        if !self.is_ours()? {
            return Ok(());
        }
        match &mut self.bound {
            Some(asked) if asked.call != 0 => {
                // The kernel may have forgotten already.
                ffi::ask(&self.task, &asked.cpus.0)?;
                *asked = Asked::of(&self.task)?;
                Ok(())
            }
            _ => ffi::unpin(&self.task),
        }
    }

    /// Binds it to its CPU again, if that can be. Process context; sleeps.
    fn repair(&mut self) -> Result {
        if ffi::bound_cpu_of(&self.task) == Some(self.cpu)
            || !self.is_ours()?
            || !Cpus::wish(&self.task)?.has(self.cpu)
        {
            return Ok(());
        }
        ffi::pin(&self.task, self.cpu)?;
        // The user may have asked meanwhile.
        if !self.is_ours()? {
            ffi::unpin(&self.task)?;
        }
        Ok(())
    }
}

/// The tasks that wait at spawned sockets, each once, however many sockets it serves.
pub(crate) struct Consumers(KVec<Option<Consumer>>);

impl Consumers {
    pub(crate) const fn new() -> Self {
        Self(KVec::new())
    }

    /// Forgets the tasks that are gone.
    pub(crate) fn prune(&mut self) {
        for place in self.0.iter_mut() {
            if place.as_ref().is_some_and(Consumer::is_gone) {
                *place = None;
            }
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Consumer> {
        self.0.iter_mut().flatten()
    }

    /// A CPU is about to go offline. A kernel thread; sleeps.
    pub(crate) fn displace(&mut self, cpu: CpuId) {
        self.prune();
        for consumer in self.all().filter(|c| c.cpu == cpu) {
            // Without memory, the task runs wherever the kernel lets it.
            let _ = consumer.displace();
        }
    }

    /// A CPU came or went. Process context; sleeps.
    pub(crate) fn repair(&mut self) {
        self.prune();
        for consumer in self.all() {
            // What cannot be bound is served all the same.
            let _ = consumer.repair();
        }
    }

    /// Lets a child or thread that the current task has made, and that has not run yet, run where the
    /// user wishes, if the current task is bound only by us. Process context; sleeps.
    pub(crate) fn spare(&mut self, child: &Task) {
        let task = kernel::current!();
        let parent = self.all().find(|c| ptr::eq(&*c.task, &*task));
        if parent.is_some_and(|c| c.is_ours().unwrap_or(false)) {
            // Without memory, it is bound like its parent.
            let _ = ffi::unpin(child);
        }
    }

    fn cpu_of(&self, task: &Task) -> Option<CpuId> {
        let mut consumers = self.0.iter().flatten();
        consumers.find(|c| ptr::eq(&*c.task, task)).map(|c| c.cpu)
    }

    fn users(&self, cpu: CpuId) -> usize {
        self.0.iter().flatten().filter(|c| c.cpu == cpu).count()
    }

    fn note(&mut self, task: &Task, cpu: CpuId, bound: Option<Asked>) -> Result {
        if let Some(known) = self.all().find(|c| ptr::eq(&*c.task, task)) {
            known.cpu = cpu;
            known.bound = bound;
            return Ok(());
        }
        let task = task.into();
        let new = Some(Consumer { task, cpu, bound });
        match self.0.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = new,
            None => self.0.push(new, GFP_KERNEL)?,
        }
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

        let mut asked = None;
        self.prune();
        let cpu = match mode {
            Mode::Off => return Ok(None),
            Mode::Bound => match (wanted, bound) {
                (Some(cpu), Some(at)) if cpu == at => cpu,
                (Some(_), _) => return Err(EINVAL),
                (None, Some(at)) => at,
                (None, None) => return Ok(None),
            },
            Mode::Bind => {
                let wish = Cpus::wish(&task)?;
                let cpu = match wanted {
                    Some(cpu) if wish.has(cpu) => cpu,
                    Some(_) => return Err(EINVAL),
                    // A CPU that was chosen before stays, for all the sockets that a task serves.
                    None => match self.cpu_of(&task) {
                        Some(cpu) if bound == Some(cpu) && wish.has(cpu) => cpu,
                        _ => {
                            let users = |cpu| self.users(cpu);
                            let here = CpuId::current_hint();
                            match least_used(wish.iter(), users, here) {
                                Some(cpu) => cpu,
                                None => return Ok(None),
                            }
                        }
                    },
                };
                asked = Some(Asked::of(&task)?);
                if bound != Some(cpu) {
                    ffi::pin(&task, cpu)?;
                }
                cpu
            }
        };
        self.note(&task, cpu, asked)?;
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
        sets_hold_what_the_kernel_says,
    ] }
}
