// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! `poll` on a spawned socket: by `poll(2)`, `select(2)`, epoll and io_uring.
//!
//! Each of them registers once, maybe for ever, and looks again whenever it was woken, maybe as another
//! task on another CPU. So a task that is bound to a CPU registers at the slot of that CPU, all at the
//! socket itself; and only the consumer of a slot looks at less than all of them.

use crate::{
    accept::View,
    ffi::PollCall,
    group::Group,
    slot::{Slot, Waits},
};

/// Registers the current task, if it wants to wait, and says whether there is something to accept.
///
/// Process context; sleeps.
pub(crate) fn poll(group: &Group, call: &PollCall) -> bool {
    let own = if call.registers() {
        let own = group.enlist(Waits::Registered);
        call.register(own.map(Slot::queue));
        own
    } else {
        group.own_slot(None)
    };
    let view = View::new(group, own);
    let some = view.has_some();
    if !some && !call.registers() {
        view.narrow();
    }
    some
}
