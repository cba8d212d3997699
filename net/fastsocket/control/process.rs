// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Whose process asks, what it may do, and where it stems from.

use core::ptr;
use kernel::{bindings, net::namespace::Namespace, task::Task};

/// Returns a number that no other process has for as long as the task is referenced.
pub(crate) fn process_id(task: &Task) -> usize {
    // SAFETY: The reference keeps the task.
    unsafe { bindings::fastsocket_process(as_ptr(task)) as usize }
}

/// How many generations of processes are looked at, of which some are threads, shells and supervisors.
const ANCESTORS: usize = 64;

/// The process of the current task, and those that it stems from.
pub(crate) struct Ancestry {
    ids: [usize; ANCESTORS],
    known: usize,
}

impl Ancestry {
    /// That of the current task. Any context.
    pub(crate) fn current() -> Self {
        let mut ids = [0; ANCESTORS];
        // SAFETY: There is as much room as is said.
        let known = unsafe {
            bindings::fastsocket_ancestry(ids.as_mut_ptr().cast(), ANCESTORS as u32) as usize
        };
        Self { ids, known }
    }

    /// Is a process among them, by [`process_id`]?
    pub(crate) fn has(&self, process: usize) -> bool {
        self.ids.iter().take(self.known).any(|id| *id == process)
    }
}

/// Returns the effective user of the current task, as the initial user namespace numbers it.
pub(crate) fn euid() -> u32 {
    // SAFETY: It can be called in process context.
    unsafe { bindings::fastsocket_euid() }
}

/// Is the current task one of an ordinary program of a user, that has no privileges of its own?
pub(crate) fn runs_for(euid: u32) -> bool {
    // SAFETY: It can be called in process context.
    unsafe { bindings::fastsocket_runs_for(euid) }
}

/// Has the current task `CAP_NET_ADMIN` over a network namespace, or [`None`], over all?
pub(crate) fn is_net_admin(net: Option<&Namespace>) -> bool {
    let capability = bindings::CAP_NET_ADMIN as i32;
    match net {
        // SAFETY: The reference keeps the namespace, and that its user namespace.
        Some(net) => unsafe { bindings::ns_capable((*net.as_ptr()).user_ns, capability) },
        // SAFETY: It can be called in process context.
        None => unsafe { bindings::capable(capability) },
    }
}

/// Does a filter see the system calls of the current task, by seccomp(2)?
pub(crate) fn is_filtered() -> bool {
    // SAFETY: It can be called in process context.
    unsafe { bindings::fastsocket_is_filtered() }
}

/// A task as C wants it.
fn as_ptr(task: &Task) -> *mut bindings::task_struct {
    // CAST: The type is transparent.
    ptr::from_ref(task).cast_mut().cast()
}
