// SPDX-License-Identifier: GPL-2.0

//! Automatic pins, which new tasks must not inherit.

use crate::device::Device;
use crate::sys::{self, SavedErrno};

/// Whether the calling thread may be pinned by the kernel. It then runs on
/// one CPU; that may be the user's wish as well, and only the kernel can
/// tell.
pub(crate) fn possible() -> bool {
    !matches!(sys::allowed_cpus(), Some(count) if count != 1)
}

/// Lets the calling thread, which is new, run where it is meant to.
pub(crate) fn undo() {
    let _errno = SavedErrno::new();
    if let Ok(device) = Device::open() {
        device.spawn_all();
    }
}

/// Runs in a child of fork(2), before fork returns there.
pub(crate) extern "C" fn after_fork() {
    let _errno = SavedErrno::new();
    if possible() {
        undo();
    }
}
