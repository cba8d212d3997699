// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! `accept(2)` on a spawned socket.
//!
//! A consumer takes from its own slot first, and every few connections from the socket's own queue, which
//! is never starved; anybody else takes from wherever there is something. [`View`] is what `accept` and
//! `poll` look at, so that what the one promises the other keeps.

use kernel::{cpu::CpuId, prelude::*};

use crate::{
    group::Group,
    queue::Connection,
    slot::{Slot, Waits},
    trace::{self, Origin},
    wait::WaitQueue,
};

/// The queues that the current task looks at.
pub(crate) struct View<'a> {
    group: &'a Group,
    /// The slot that it serves, alone or with others.
    own: Option<&'a Slot>,
}

impl<'a> View<'a> {
    /// `own` is what [`Group::own_slot`] or [`Group::enlist`] returned.
    pub(crate) fn new(group: &'a Group, own: Option<&'a Slot>) -> Self {
        Self { group, own }
    }

    /// The slots that the task looks at beside its own, the nearest first.
    ///
    /// A consumer looks at those that are loaded, at those that it left when it was moved, and when it
    /// has just registered at those that nobody waits at. To look at all would be to take the
    /// connections of siblings that are about to.
    fn others(&self) -> impl Iterator<Item = &'a Slot> {
        let (all, wide) = (!self.is_consumer(), self.own.is_some_and(Slot::is_wide));
        let moved = self.own.is_some_and(Slot::is_one_of_several);
        let (group, node) = (self.group, CpuId::current().node());
        let is_seen = move |slot: &&Slot| {
            all || slot.is_loaded() || slot.is_own() || (wide && slot.is_forsaken())
        };
        let many = (all || wide || moved).then(|| group.slots_near(node).filter(is_seen));
        let few = (!all && !wide && !moved).then(|| group.loaded_near(node));
        Iterator::chain(many.into_iter().flatten(), few.into_iter().flatten())
    }

    /// Is the task the consumer of its slot?
    fn is_consumer(&self) -> bool {
        self.own.is_some_and(Slot::is_own)
    }

    /// Is there something to accept? Process context.
    ///
    /// The socket's own queue comes last: what is moved there meanwhile is seen.
    pub(crate) fn has_some(&self) -> bool {
        self.slots_have_some() || !self.group.socket().is_empty()
    }

    /// Is there something at the slots? Process context.
    pub(crate) fn slots_have_some(&self) -> bool {
        self.own.is_some_and(Slot::has_some) || self.others().any(Slot::has_some)
    }

    /// All was looked at, and nothing found: from now on, the own slot tells what comes.
    pub(crate) fn narrow(&self) {
        if let Some(own) = self.own.filter(|own| own.is_own()) {
            own.narrow();
        }
    }

    /// Takes a connection, without waiting. Process context.
    fn take(&self) -> Option<Connection> {
        let here = CpuId::current();
        let near = self.own.or_else(|| self.group.slot(here));

        let mut taken = None;
        if near.is_some_and(Slot::yields) {
            taken = self.take_global(here);
        }
        taken
            .or_else(|| near.and_then(|slot| self.take_from(slot, here, false)))
            // What was moved there meanwhile is seen.
            .or_else(|| self.take_global(here))
            .or_else(|| self.take_from_others(here))
    }

    fn take_from_others(&self, here: CpuId) -> Option<Connection> {
        for slot in self.others() {
            let steals = self.is_consumer() && slot.is_loaded() && !slot.is_own();
            if let Some(connection) = self.take_from(slot, here, steals) {
                return Some(connection);
            }
        }
        let moved = self.take_global(here);
        if moved.is_none() {
            self.narrow();
        }
        moved
    }

    fn take_global(&self, here: CpuId) -> Option<Connection> {
        let socket = self.group.socket();
        if socket.is_empty() {
            return None;
        }
        let connection = socket.take()?;
        self.group.took_global();
        if let Some(own) = self.own {
            // It was this queue's turn.
            own.took(here);
        }
        trace::accepted(socket, here, Origin::Global);
        Some(connection)
    }

    fn take_from(&self, slot: &Slot, here: CpuId, steals: bool) -> Option<Connection> {
        let connection = slot.queue().take()?;
        if steals {
            slot.robbed();
        } else {
            slot.took(here);
        }
        self.group.pass_wake_on();
        let from = match slot.cpu() {
            cpu if cpu == here => Origin::Local(cpu),
            cpu if steals => Origin::Stolen(cpu),
            cpu => Origin::Foreign(cpu),
        };
        trace::accepted(self.group.socket(), here, from);
        Some(connection)
    }
}

/// Accepts a connection, or waits for one as long as the socket and the flags of its file say. Process
/// context; sleeps.
///
/// # Errors
///
/// As `accept(2)`: `EINVAL` if the socket does not listen, `EAGAIN` if there is nothing and it does not
/// wait, or not longer, `EINTR` or `ERESTARTSYS` if a signal comes.
pub(crate) fn accept(group: &Group, flags: i32) -> Result<Connection> {
    let socket = group.socket();
    if !socket.is_listening() {
        return Err(EINVAL);
    }

    let mut timeout = socket.timeout(flags);
    let blocks = timeout != 0;
    let own = if blocks {
        group.enlist(Waits::Accepting)
    } else {
        group.own_slot(None)
    };
    let view = View::new(group, own);
    let mut slept = false;
    loop {
        if let Some(connection) = view.take() {
            if slept {
                pass_wakes_on(&view);
            }
            return Ok(connection);
        }
        if !blocks {
            return Err(EAGAIN);
        }
        slept = true;
        let waiters = own.map(Slot::waiters);
        let res = WaitQueue::wait(socket, waiters, &mut timeout, &|| view.has_some());
        if res.is_err() {
            pass_wakes_on(&view);
        }
        res?;
    }
}

/// A task that waits at two queues may be woken at both, and takes from one: wakes another for the rest.
fn pass_wakes_on(view: &View<'_>) {
    view.group.socket().pass_wake_on();
    if let Some(own) = view.own.filter(|own| own.has_some()) {
        own.waiters().wake();
    }
}
