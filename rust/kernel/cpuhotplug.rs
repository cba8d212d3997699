// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Processors that come and go.
//!
//! C header: [`include/linux/cpuhotplug.h`](srctree/include/linux/cpuhotplug.h)
//!
//! Reference: <https://docs.kernel.org/core-api/cpu_hotplug.html>

use crate::{bindings, cpu::CpuId, error::to_result, prelude::*, str::CStr};
use core::{
    ffi::{c_int, c_uint},
    marker::PhantomData,
};

/// What is called when a processor comes or goes.
///
/// Each function runs in a task on the processor that it is about, and may sleep. No processor comes or
/// goes meanwhile.
pub trait Callbacks {
    /// The processor is online, but no task of a program runs on it yet.
    fn online(_cpu: CpuId) {}

    /// The processor is about to go offline; tasks of programs have left it.
    fn offline(_cpu: CpuId) {}
}

/// [`Callbacks`] that are called until this is dropped.
///
/// # Invariants
///
/// `state` is that of the registration, which is in force.
///
/// # Examples
///
/// ```
/// use kernel::{c_str, cpu::CpuId, cpuhotplug::{Callbacks, Registration}};
///
/// struct Note;
///
/// impl Callbacks for Note {
///     fn offline(cpu: CpuId) {
///         pr_info!("processor {cpu} goes\n");
///     }
/// }
///
/// let _registration = Registration::<Note>::new(c_str!("example:online"))?;
/// # Ok::<(), Error>(())
/// ```
pub struct Registration<T: Callbacks> {
    state: bindings::cpuhp_state,
    _callbacks: PhantomData<fn(T)>,
}

impl<T: Callbacks> Registration<T> {
    /// Has the callbacks called for what happens from now on. Process context; sleeps.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if there are too many registrations, `ENOMEM`.
    pub fn new(name: &'static CStr) -> Result<Self> {
        // SAFETY: The name is static. The functions may be called until the drop.
        let state = unsafe {
            bindings::__cpuhp_setup_state(
                bindings::cpuhp_state_CPUHP_AP_ONLINE_DYN,
                name.as_char_ptr(),
                false,
                Some(online::<T>),
                Some(offline::<T>),
                false,
            )
        };
        to_result(state)?;
        // INVARIANT: It was just made. A number that is not negative is one of the states.
        Ok(Self {
            state: state as _,
            _callbacks: PhantomData,
        })
    }
}

impl<T: Callbacks> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. Nothing of it runs when this returns.
        unsafe { bindings::__cpuhp_remove_state(self.state, false) };
    }
}

/// # Safety
///
/// `cpu` must be a possible processor.
unsafe extern "C" fn online<T: Callbacks>(cpu: c_uint) -> c_int {
    // SAFETY: By the safety requirements.
    T::online(unsafe { CpuId::from_u32_unchecked(cpu) });
    0
}

/// # Safety
///
/// `cpu` must be a possible processor.
unsafe extern "C" fn offline<T: Callbacks>(cpu: c_uint) -> c_int {
    // SAFETY: By the safety requirements.
    T::offline(unsafe { CpuId::from_u32_unchecked(cpu) });
    0
}
