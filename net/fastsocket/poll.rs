// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! `poll` on a spawned socket: by `poll(2)`, `select(2)`, epoll and io_uring.
//!
//! Each of them registers once, maybe for ever, and looks again whenever it was woken, maybe as another
//! task on another CPU. So a task that is bound to a CPU registers at the slot of that CPU, all at the
//! socket itself; and only the consumer of a slot looks at less than all of them.

use crate::{accept::View, ffi::PollCall, group::Group, slot::Waits};

/// Registers the current task at the slot that it serves from now on, if it wants to wait. Process context;
/// sleeps.
pub(crate) fn register(group: &Group, call: &PollCall) {
    if call.registers() {
        if let Some(own) = group.enlist(Waits::Registered) {
            call.register(own.waiters());
        }
    }
}

/// Is there something to accept at the slots that the current task looks at? It looks at the socket's own
/// queue next. Process context.
pub(crate) fn has_some(group: &Group) -> bool {
    let view = View::new(group, group.own_slot(None));
    let some = view.slots_have_some();
    if !some {
        view.narrow();
    }
    some
}
