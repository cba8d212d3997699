// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Memory barriers.
//!
//! Reference: `Documentation/memory-barriers.txt`

use core::sync::atomic::{fence, Ordering};

/// Orders all that comes before it before all that comes after it, for all processors.
#[inline]
pub fn smp_mb() {
    fence(Ordering::SeqCst);
}
