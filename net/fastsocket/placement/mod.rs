// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Which CPU a task serves.
//!
//! A task becomes a consumer when it first waits at a spawned socket. It is then told which CPU's connections
//! it takes: of those that it may run on the one that is served least for this socket, and of equal ones for
//! all. One that waits for others to wait, and takes what they are told of, serves where that came from: who serves a
//! CPU is who takes. It is not bound to that: whoever serves a CPU is woken there by what arrives there, if the CPU is free for
//! it (`fastsocket_wakes_here()`), and runs wherever the scheduler moves it otherwise. So what its user and
//! cpusets have asked for holds, is not changed, and need not be restored.
//!
//! This room knows tasks and CPUs, and no sockets. Its one lock, under which nothing is taken, is held while a
//! task chooses.

use kernel::{
    bindings,
    cpu::{self, CpuId},
    cpumask,
    error::to_result,
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        SpinLock,
    },
};

use crate::core::state::{Installed, State};

pub(crate) mod task;

/// How many tasks serve which CPU.
static CONSUMERS: State<Consumers> = State::new();

/// Returns how many tasks serve which CPU, for a hook, an open device or a spawned socket.
///
/// # Errors
///
/// `ENODEV` while the module is not quite there.
pub(crate) fn consumers() -> Result<&'static Consumers> {
    CONSUMERS.get()
}

struct Ops(bindings::fastsocket_placement_ops);

// SAFETY: It is only read.
unsafe impl Sync for Ops {}

static OPS: Ops = Ops(bindings::fastsocket_placement_ops { left: Some(left) });

/// The hooks being connected, until this is dropped.
pub(crate) struct Registration {
    _consumers: Installed<Consumers>,
}

impl Registration {
    /// Connects the hooks. Process context; sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if others are connected, `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let consumers = KBox::pin_init(Consumers::new(), GFP_KERNEL)?;
        // SAFETY: It is dropped after the hooks are disconnected, and no socket is spawned any more.
        let installed = unsafe { CONSUMERS.install(consumers) };
        // SAFETY: The operations are static, and are unregistered by the drop.
        to_result(unsafe { bindings::fastsocket_placement_register(&OPS.0) })?;
        Ok(Self {
            _consumers: installed,
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: It was registered.
        unsafe { bindings::fastsocket_placement_unregister() };
    }
}

/// # Safety
///
/// As `fastsocket_placement_ops.left`.
unsafe extern "C" fn left() {
    if let Ok(consumers) = consumers() {
        consumers.leave();
    }
}

/// How many listening sockets get an accept queue per CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// None.
    Off,
    /// Those that tasks serve that somebody has bound to one CPU.
    Bound,
    /// All.
    All,
}

impl Mode {
    /// What `enable_listen_spawn` says.
    pub(crate) fn get() -> Self {
        match crate::module_parameters::enable_listen_spawn.value() {
            0 => Self::Off,
            1 => Self::Bound,
            _ => Self::All,
        }
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

/// How many tasks serve each CPU.
#[pin_data]
pub(crate) struct Consumers {
    number: KVec<Atomic<u32>>,
    /// One chooses at a time, so that two do not choose the same.
    #[pin]
    choosing: SpinLock<()>,
}

impl Consumers {
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        let none = || {
            let mut number = KVec::with_capacity(cpu::nr_cpu_ids() as usize, GFP_KERNEL)?;
            for _ in 0..cpu::nr_cpu_ids() {
                number.push(Atomic::new(0), GFP_KERNEL)?;
            }
            Ok::<_, Error>(number)
        };
        try_pin_init!(Self {
            number: none()?,
            choosing <- new_spinlock!((), "fastsocket::choosing"),
        })
    }

    /// How many tasks serve a CPU, for whichever sockets?
    fn of(&self, cpu: CpuId) -> u32 {
        self.number
            .get(cpu.index())
            .map_or(0, |number| number.load(Relaxed))
    }

    /// The current task serves a CPU from now on, or none. Process context.
    fn serve(&self, cpu: Option<CpuId>) {
        let count = |cpu: Option<CpuId>, by| {
            if let Some(number) = cpu.and_then(|cpu| self.number.get(cpu.index())) {
                number.fetch_add(by, Relaxed);
            }
        };
        count(task::serve(cpu), u32::MAX);
        count(cpu, 1);
    }

    /// The current task, which serves none, has taken a connection that arrived on a CPU: it serves that from now
    /// on. Returns whether it may. Process context.
    pub(crate) fn follow(&self, cpu: CpuId) -> bool {
        let may = Mode::get() == Mode::All
            && task::is_program()
            && !task::serves_any()
            && task::may_run_on(cpu);
        if may {
            self.serve(Some(cpu));
        }
        may
    }

    /// The current task exits, or executes another program. Process context.
    pub(crate) fn leave(&self) {
        self.serve(None);
    }

    /// Makes the current task a consumer of a CPU, and returns which; [`None`] if it is to be none.
    ///
    /// `wanted` is the CPU that it asked for: it is bound to that, as it could have bound itself. Of others,
    /// it gets the one that is `served` least for the socket that it waits at, and of equal ones that which the
    /// fewest tasks serve for any socket: so nobody decides where others go by being there before them. `chosen` is
    /// told which, before another task chooses. Process context; sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `wanted` is not to be had, or as `sched_setaffinity(2)`.
    pub(crate) fn place<S: Ord>(
        &self,
        mode: Mode,
        wanted: Option<CpuId>,
        served: impl Fn(CpuId) -> S,
        chosen: impl Fn(CpuId),
    ) -> Result<Option<CpuId>> {
        match (mode, wanted) {
            (Mode::Off, _) => return Ok(None),
            (Mode::Bound, _) => {
                let bound = task::bound_cpu();
                if wanted.is_some() && wanted != bound {
                    return Err(EINVAL);
                }
                if let Some(cpu) = bound {
                    self.serve(bound);
                    chosen(cpu);
                }
                return Ok(bound);
            }
            (Mode::All, Some(cpu)) => {
                task::bind(cpu)?;
                self.serve(wanted);
                chosen(cpu);
                return Ok(wanted);
            }
            (Mode::All, None) => {}
        }

        // A CPU that was chosen before stays, for all the sockets that a task serves.
        let before = task::served_cpu();
        if let Some(cpu) = before {
            chosen(cpu);
            return Ok(before);
        }
        let here = CpuId::current();
        let _one = self.choosing.lock();
        let cpus = cpumask::possible_cpus().filter(|cpu| task::may_run_on(*cpu));
        let choice = least_used(cpus, |cpu| (served(cpu), self.of(cpu)), here);
        if let Some(cpu) = choice {
            self.serve(choice);
            chosen(cpu);
        }
        Ok(choice)
    }
}

#[kernel::macros::kunit_tests(fastsocket_placement)]
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

    /// As when a task is placed, placed anew, and gone: the counts follow.
    #[test]
    fn a_consumer_counts_where_it_serves() -> Result {
        let consumers = KBox::pin_init(Consumers::new(), GFP_KERNEL)?;
        let all = || {
            cpumask::possible_cpus()
                .map(|cpu| consumers.of(cpu))
                .sum::<u32>()
        };
        for cpu in cpumask::possible_cpus() {
            consumers.serve(Some(cpu));
            assert!(task::served_cpu() == Some(cpu));
            assert_eq!((consumers.of(cpu), all()), (1, 1));
        }
        consumers.leave();
        assert!(task::served_cpu().is_none());
        assert_eq!(all(), 0);
        // Once more does nothing.
        consumers.leave();
        assert_eq!(all(), 0);
        Ok(())
    }

    /// It serves one that it may run on, and stays there.
    #[test]
    fn a_task_is_placed_once() -> Result {
        let consumers = KBox::pin_init(Consumers::new(), GFP_KERNEL)?;
        let first = consumers.place(Mode::All, None, |_| (), |_| ())?;
        assert!(first.is_some_and(task::may_run_on));
        let dearest = |cpu| Some(cpu) == first;
        assert!(consumers.place(Mode::All, None, dearest, |_| ())? == first);
        consumers.leave();
        assert!(consumers.place(Mode::Off, None, |_| (), |_| ())?.is_none());
        Ok(())
    }
}
