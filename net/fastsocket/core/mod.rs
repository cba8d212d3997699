// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! What all rooms stand on: statistics, messages, the time, and what hooks work on. It knows nothing of the others, takes
//! no lock, and can be called in any context, unless it says otherwise.

pub(crate) mod clock;
pub(crate) mod log;
pub(crate) mod state;
pub(crate) mod stats;
