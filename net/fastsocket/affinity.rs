// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Which CPU a task serves.
//!
//! A task becomes a consumer when it first waits at a spawned socket. With `enable_listen_spawn=2` it is
//! then bound to the CPU, of those that it is allowed on, that the fewest consumers serve. What it is
//! bound to at that moment says nothing: a forked child has inherited that from its parent. What the
//! user asked for, and cpusets, count ([`Cpus::wish`]).
//!
//! The kernel lets a task run anywhere when the CPU that it is bound to goes offline. When that is back, so
//! is the task, at its next look at a socket ([`rebind`]).

use core::{
    ptr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};
use kernel::{
    alloc::Flags,
    cpu::{self, CpuId},
    cpuhotplug,
    percpu::PerCpu,
    prelude::*,
    task::Task,
    types::ARef,
};

use crate::{
    ffi::{self, TaskState},
    hooks,
};

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

    /// The CPUs that the user, the cpuset and the boot line leave to the current task, and that are
    /// online. Process context, may sleep.
    pub(crate) fn wish() -> Result<Self> {
        let mut cpus = Self::empty()?;
        ffi::wish(&mut cpus.0)?;
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

    /// Are there more than one in it?
    pub(crate) fn is_choice(&self) -> bool {
        self.iter().nth(1).is_some()
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

/// A task that serves a CPU.
struct Consumer {
    task: ARef<Task>,
    cpu: CpuId,
    /// What [`Unplugs`] said of the CPU when it was chosen.
    unplugs: u32,
}

/// How often each CPU has gone offline.
pub(crate) struct Unplugs {
    counts: PerCpu<AtomicU32>,
    any: AtomicBool,
}

impl Unplugs {
    /// Process context; may sleep.
    pub(crate) fn new(flags: Flags) -> Result<Self> {
        Ok(Self {
            counts: PerCpu::new_with(flags, |_| Ok(AtomicU32::new(0)))?,
            any: AtomicBool::new(false),
        })
    }

    fn of(&self, cpu: CpuId) -> u32 {
        self.counts.on(cpu).load(Ordering::Relaxed)
    }
}

/// Counts in [`Unplugs`].
pub(crate) struct Hotplug;

impl cpuhotplug::Callbacks for Hotplug {
    fn offline(cpu: CpuId) {
        if let Ok(state) = hooks::state() {
            state.unplugs.counts.on(cpu).fetch_add(1, Ordering::Relaxed);
            state.unplugs.any.store(true, Ordering::Relaxed);
        }
    }
}

/// Binds the current task, which is bound to no CPU, to the one that it served, if that was taken away
/// and is back, and returns it. Process context; sleeps, and may move the task.
pub(crate) fn rebind() -> Option<CpuId> {
    let state = hooks::state().ok()?;
    if !state.unplugs.any.load(Ordering::Relaxed) || Mode::get() != Mode::Bind {
        return None;
    }
    state.consumers.lock().rebind(&state.unplugs)
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
            if place
                .as_ref()
                .is_some_and(|c| ffi::task_state(&c.task) == TaskState::Gone)
            {
                *place = None;
            }
        }
    }

    fn cpu_of(&self, task: &Task) -> Option<CpuId> {
        let mut consumers = self.0.iter().flatten();
        consumers.find(|c| ptr::eq(&*c.task, task)).map(|c| c.cpu)
    }

    fn users(&self, cpu: CpuId) -> usize {
        self.0.iter().flatten().filter(|c| c.cpu == cpu).count()
    }

    fn note(&mut self, task: &Task, cpu: CpuId, unplugs: u32) -> Result {
        if let Some(known) = self
            .0
            .iter_mut()
            .flatten()
            .find(|c| ptr::eq(&*c.task, task))
        {
            known.cpu = cpu;
            known.unplugs = unplugs;
            return Ok(());
        }
        let task = task.into();
        let new = Some(Consumer { task, cpu, unplugs });
        match self.0.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = new,
            None => self.0.push(new, GFP_KERNEL)?,
        }
        Ok(())
    }

    /// Binds the current task to its CPU again, if it lost it because that was taken away.
    fn rebind(&mut self, unplugs: &Unplugs) -> Option<CpuId> {
        let task = kernel::current!();
        let mut consumers = self.0.iter_mut().flatten();
        let lost = consumers.find(|c| ptr::eq(&*c.task, &*task))?;
        let now = unplugs.of(lost.cpu);
        // Else somebody has set its affinity, and it stays as that says.
        if lost.unplugs == now || !cpu::is_online(lost.cpu) || !Cpus::wish().ok()?.has(lost.cpu) {
            return None;
        }
        ffi::pin(lost.cpu).ok()?;
        lost.unplugs = now;
        Some(lost.cpu)
    }

    /// Makes the current task a consumer of a CPU, and returns which; [`None`] if it is to be none.
    ///
    /// `wanted` is the CPU that it asked for. Process context; sleeps, and may move the task.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `wanted` is not to be had, `ENOMEM`, or why the task cannot be bound.
    pub(crate) fn place(
        &mut self,
        mode: Mode,
        wanted: Option<CpuId>,
        unplugs: &Unplugs,
    ) -> Result<Option<CpuId>> {
        let bound = ffi::bound_cpu();
        let task = kernel::current!();

        // Of no matter where the task is not bound here.
        let mut before = 0;
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
                let wish = Cpus::wish()?;
                let cpu = match wanted {
                    Some(cpu) if wish.has(cpu) => cpu,
                    Some(_) => return Err(EINVAL),
                    // A CPU that was chosen before stays, for all the sockets that a task serves.
                    None => match self.cpu_of(task) {
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
                before = unplugs.of(cpu);
                if bound != Some(cpu) {
                    ffi::pin(cpu)?;
                }
                cpu
            }
        };
        self.note(task, cpu, before)?;
        Ok(Some(cpu))
    }

    /// Lets the current task run where the user wishes, if it is bound by inheritance only.
    ///
    /// Process context; sleeps.
    pub(crate) fn release_heir(&mut self) -> Result {
        let task = kernel::current!();

        self.prune();
        if self.cpu_of(task).is_none() && ffi::bound_cpu().is_some() && Cpus::wish()?.is_choice() {
            ffi::unpin()?;
        }
        Ok(())
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
        let wish = Cpus::wish()?;
        kunit_check!(wish.iter().next().is_some(), "the test may run nowhere");
        for cpu in wish.iter() {
            kunit_check!(cpu::is_online(cpu), "cpu {} is offline", cpu);
        }
        kunit_check!(Cpus::empty()?.iter().next().is_none());
        kunit_check!(!Cpus::empty()?.is_choice());
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
