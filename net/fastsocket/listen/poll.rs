// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! `poll` on a spawned socket: by `poll(2)`, `select(2)`, epoll and io_uring.
//!
//! Each of them registers once, maybe for ever, and looks again whenever it was woken, maybe as another
//! task on another CPU. So a task that serves a CPU registers at the slot of that CPU, all at the
//! socket itself; and only the consumer of a slot looks at less than all of them.

use kernel::bindings;

use super::{
    accept::{Act, View},
    group::Group,
    protocol::View as _,
    slot::{Slot, Waits},
    wait::WaitQueue,
};

/// A call of `poll` on a listening socket that is being carried out.
///
/// # Invariants
///
/// The pointers are what `fastsocket_ops.poll_wait` was given, and that has not returned.
pub(crate) struct PollCall {
    file: *mut bindings::file,
    wait: *mut bindings::poll_table_struct,
}

impl PollCall {
    /// # Safety
    ///
    /// The type invariants must hold until the value is dropped.
    pub(crate) unsafe fn from_raw(
        file: *mut bindings::file,
        wait: *mut bindings::poll_table_struct,
    ) -> Self {
        // INVARIANT: By the safety requirements.
        Self { file, wait }
    }

    /// Registers the caller at the wait queue of a slot.
    pub(crate) fn register(&self, waiters: &WaitQueue) {
        // SAFETY: By the type invariants; a slot's queue stays for as long as the socket.
        unsafe { bindings::fastsocket_poll_slot(self.file, waiters.as_ptr(), self.wait) };
    }
}

/// Registers the current task, which wants to wait, at the slot that it serves from now on. Process context;
/// sleeps.
pub(crate) fn register(group: &Group, call: &PollCall) {
    if let Some(own) = group.enlist(Waits::Registered) {
        call.register(own.waiters());
    }
}

/// Is there something to accept at the slots that the current task looks at? It looks at the socket's own
/// queue next. Process context.
pub(crate) fn has_some(group: &Group) -> bool {
    let own = group.own_slot();
    if own.is_some_and(Slot::has_some) {
        return true;
    }
    let view = View::new(group, own, Act::Polls);
    let some = view.slots_have_some();
    if !some {
        view.found_nothing();
    }
    some
}
