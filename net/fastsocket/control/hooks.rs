// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Where C enters: `listen(2)`.

use kernel::{bindings, error::to_result, prelude::*};

use super::mark::{self, Held};
use crate::{core::state::Installed, listen::socket::SocketFile};

struct Ops(bindings::fastsocket_control_ops);

// SAFETY: It is only read.
unsafe impl Sync for Ops {}

static OPS: Ops = Ops(bindings::fastsocket_control_ops {
    owner: crate::THIS_MODULE.as_ptr(),
    listened: Some(listened),
});

/// The hook being connected, until this is dropped.
pub(crate) struct Registration {
    _held: Installed<Held>,
}

impl Registration {
    /// Connects the hook. Process context; sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if another is connected, `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: It is dropped after the hook is disconnected, and when no device is open.
        let held = unsafe { Held::install() }?;
        // SAFETY: The operations are static, and are unregistered by the drop.
        to_result(unsafe { bindings::fastsocket_control_register(&OPS.0) })?;
        Ok(Self { _held: held })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: It was registered.
        unsafe { bindings::fastsocket_control_unregister() };
    }
}

/// # Safety
///
/// As `fastsocket_control_ops.listened`.
unsafe extern "C" fn listened(sock: *mut bindings::socket) {
    // SAFETY: The hook is called for a TCP socket of a program, that stays open during the call.
    if let Some(file) = unsafe { SocketFile::borrow(sock) } {
        mark::listened(&file);
    }
}
