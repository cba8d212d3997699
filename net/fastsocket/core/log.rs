// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! What is logged.

/// Logs a message of a syslog level from 0 to 7, if `enable_fastsocket_debug` reaches that far, and as
/// often as the network may (`/proc/sys/net/core/message_*`): programs can cause it.
///
/// Not for the path of a connection.
macro_rules! log {
    ($level:literal, $($arg:tt)+) => {
        if crate::module_parameters::enable_fastsocket_debug.value() >= $level {
            crate::core::log::line($level, format_args!($($arg)+));
        }
    };
}
pub(crate) use log;

use core::fmt;
use kernel::{bindings, prelude::*};

/// Logs a line at a syslog level, unless there were many.
pub(crate) fn line(level: i32, args: fmt::Arguments<'_>) {
    // SAFETY: It can be called anywhere.
    if unsafe { bindings::net_ratelimit() } == 0 {
        return;
    }
    match level {
        ..=3 => pr_err!("{args}\n"),
        4 => pr_warn!("{args}\n"),
        5 => pr_notice!("{args}\n"),
        // pr_debug!() needs CONFIG_RUST_DEBUG_ASSERTIONS; whoever sets the level to 7 wants to see it.
        _ => pr_info!("{args}\n"),
    }
}
