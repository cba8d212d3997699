// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! CPUs that come and go.
//!
//! Who is bound to a CPU that goes is let off it at once; all are bound anew when everything else has
//! heard of the CPU: cpusets do after us when one comes, and before when one goes.

use core::marker::PhantomPinned;
use kernel::{bindings, cpu::CpuId, cpuhotplug, prelude::*, types::Opaque};

use crate::hooks;

/// What is called when a CPU comes or goes.
pub(crate) struct Hotplug;

impl cpuhotplug::Callbacks for Hotplug {
    fn online(_cpu: CpuId) {
        if let Ok(state) = hooks::state() {
            state.repair.schedule();
        }
    }

    fn offline(cpu: CpuId) {
        if let Ok(state) = hooks::state() {
            state.consumers.displace(cpu);
            state.repair.schedule();
        }
    }
}

/// Work that binds tasks anew when a change of CPUs is over.
///
/// # Invariants
///
/// `work` is initialised, and does not move.
#[pin_data(PinnedDrop)]
pub(crate) struct Repair {
    #[pin]
    work: Opaque<bindings::work_struct>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: A work item can be scheduled and cancelled by any task.
unsafe impl Send for Repair {}

// SAFETY: As above.
unsafe impl Sync for Repair {}

impl Repair {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: It is initialised here.
            work <- Opaque::ffi_init(|work| {
                // SAFETY: `work` is to be initialised, and pinned; the function stays until the drop.
                unsafe {
                    bindings::init_work_with_key(
                        work,
                        Some(repair),
                        false,
                        kernel::c_str!("fastsocket::repair").as_char_ptr(),
                        // CAST: The type is transparent.
                        core::ptr::from_ref(kernel::static_lock_class!()).cast_mut().cast(),
                    )
                }
            }),
            _pin: PhantomPinned,
        })
    }

    /// Has the work done soon. Any context.
    fn schedule(&self) {
        // SAFETY: By the type invariants; the queue is always there.
        unsafe {
            bindings::queue_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as i32,
                bindings::system_wq,
                self.work.get(),
            )
        };
    }
}

#[pinned_drop]
impl PinnedDrop for Repair {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants.
        unsafe { bindings::cancel_work_sync(self.work.get()) };
    }
}

/// # Safety
///
/// To be called by a [`Repair`] only.
unsafe extern "C" fn repair(_work: *mut bindings::work_struct) {
    // SAFETY: It can be called where one can sleep. Nobody changes the CPUs in between.
    unsafe { bindings::cpus_read_lock() };
    if let Ok(state) = hooks::state() {
        state.consumers.repair();
    }
    // SAFETY: It was locked.
    unsafe { bindings::cpus_read_unlock() };
}
