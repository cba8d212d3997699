// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! The time in ticks.

use core::ptr::{addr_of, read_volatile};
use kernel::bindings;

/// Returns the time in ticks, which wraps around. Any context.
pub(crate) fn now() -> u32 {
    // SAFETY: The symbol is that of C, which changes it atomically.
    // CAST: It is compared with what it was a while ago.
    unsafe { read_volatile(addr_of!(bindings::jiffies)) as u32 }
}
