// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Tasks: which CPUs they may run on, which one they serve, and what they do.

use core::ptr::NonNull;
use kernel::{bindings, cpu::CpuId, error::to_result, prelude::*, sync::rcu};

/// Whether a task can be expected to serve a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskState {
    /// It exits, or has.
    Gone,
    /// By a signal or a debugger, or frozen.
    Stopped,
    /// It sleeps.
    Waiting,
    /// It runs, or would if it were let.
    Running,
    /// The same, on the CPU of who asks.
    Here,
}

/// Makes one of what C says.
fn to_state(state: bindings::fastsocket_task_state) -> TaskState {
    match state {
        bindings::fastsocket_task_state_FASTSOCKET_TASK_GONE => TaskState::Gone,
        bindings::fastsocket_task_state_FASTSOCKET_TASK_STOPPED => TaskState::Stopped,
        bindings::fastsocket_task_state_FASTSOCKET_TASK_WAITING => TaskState::Waiting,
        bindings::fastsocket_task_state_FASTSOCKET_TASK_HERE => TaskState::Here,
        _ => TaskState::Running,
    }
}

/// A task that may be gone: it is known, but not kept.
///
/// # Invariants
///
/// It is a reference to a `struct pid`, that this owns.
pub(crate) struct Pid(NonNull<bindings::pid>);

// SAFETY: A `struct pid` belongs to nobody.
unsafe impl Send for Pid {}

// SAFETY: It can be asked from anywhere.
unsafe impl Sync for Pid {}

// SAFETY: The module's last act is `rcu_barrier()`, and the drop retires nothing.
unsafe impl rcu::Retire for Pid {}

impl Pid {
    /// That of the current task. Process context.
    pub(crate) fn current() -> Self {
        // SAFETY: It can be called in process context, where a task has a pid.
        let pid = unsafe { NonNull::new_unchecked(bindings::fastsocket_get_pid()) };
        // INVARIANT: The reference was just taken.
        Self(pid)
    }

    /// Returns what the task does at the moment. Any context.
    pub(crate) fn task_state(&self) -> TaskState {
        // SAFETY: By the type invariants.
        to_state(unsafe { bindings::fastsocket_pid_state(self.0.as_ptr()) })
    }
}

impl Drop for Pid {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the reference is ours to give up.
        unsafe { bindings::put_pid(self.0.as_ptr()) };
    }
}

/// Is the current task a thread of a program? An io_uring worker is not, nor is a kernel thread.
pub(crate) fn is_program() -> bool {
    // SAFETY: It can be called anywhere.
    unsafe { bindings::fastsocket_is_program() }
}

/// Returns the only CPU that the current task may run on, if there is but one.
pub(crate) fn bound_cpu() -> Option<CpuId> {
    // SAFETY: It can be called anywhere.
    let cpu = unsafe { bindings::fastsocket_bound_cpu() };
    CpuId::from_i32(cpu)
}

/// May the current task run on a CPU, that is online?
pub(crate) fn may_run_on(cpu: CpuId) -> bool {
    // SAFETY: The CPU is possible by its type.
    unsafe { bindings::fastsocket_may_run_on(cpu.as_u32()) }
}

/// `sched_setaffinity(2)` of the current task to one CPU. Process context; sleeps.
pub(crate) fn bind(cpu: CpuId) -> Result {
    // SAFETY: The CPU is possible by its type.
    to_result(unsafe { bindings::fastsocket_bind(cpu.as_u32()) })
}

/// Notes which CPU the current task serves, or that it serves none: it is woken there, and the hooks of exec
/// and exit ask. Returns the CPU that it served before.
pub(crate) fn serve(cpu: Option<CpuId>) -> Option<CpuId> {
    // CAST: There are fewer than `i32::MAX`.
    let cpu = cpu.map_or(-1, i32::from);
    // SAFETY: It can be called in process context.
    let before = unsafe { bindings::fastsocket_serve(cpu) };
    CpuId::from_i32(before)
}

/// Returns the CPU that the current task serves, if it may run there.
#[inline]
pub(crate) fn served_cpu() -> Option<CpuId> {
    // SAFETY: It can be called anywhere.
    let cpu = unsafe { bindings::fastsocket_served_cpu() };
    CpuId::from_i32(cpu)
}

/// Does the current task serve a CPU, whether it may run there or not?
pub(crate) fn serves_any() -> bool {
    // SAFETY: It can be called anywhere.
    unsafe { bindings::fastsocket_serves_any() }
}

/// Does this CPU run a task that serves it, and has taken a connection? In a softirq, the one that was interrupted.
#[inline]
pub(crate) fn is_served_here() -> bool {
    // SAFETY: It can be called anywhere.
    unsafe { bindings::fastsocket_is_served_here() }
}

/// Notes that the current task has taken a connection: from now on it is relied on to come, when it is woken. Returns
/// whether it serves a CPU: it does not any more when it has executed another program.
#[inline]
pub(crate) fn took() -> bool {
    // SAFETY: It can be called in process context.
    unsafe { bindings::fastsocket_took() }
}

/// Returns something to tell the current process by, while it lives.
pub(crate) fn current_process() -> usize {
    // SAFETY: It can be called anywhere.
    unsafe { bindings::fastsocket_current_process() as usize }
}

/// Returns the number of the core that a CPU is of: that of the first of its hardware threads.
pub(crate) fn core_of(cpu: CpuId) -> u32 {
    // SAFETY: The CPU is possible by its type.
    unsafe { bindings::fastsocket_core(cpu.as_u32()) }
}

/// Returns something to tell the current task by, for as long as somebody keeps its [`Pid`].
#[inline]
pub(crate) fn current_id() -> usize {
    // SAFETY: It can be called anywhere.
    unsafe { bindings::fastsocket_current_id() as usize }
}
