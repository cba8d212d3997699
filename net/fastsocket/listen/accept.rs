// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! `accept(2)` on a spawned socket.
//!
//! A consumer takes the oldest of what its own slot and the socket's own queue have; anybody else takes from
//! wherever there is something. [`View`] is what `accept` and
//! `poll` look at, so that what the one promises the other keeps.

use kernel::{cpu::CpuId, prelude::*};

use super::{
    group::Group,
    protocol::{self, Queue as _, View as _},
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
    is_consumer: bool,
    /// It waits in `accept(2)`, if it has to.
    blocks: bool,
}

impl<'a> View<'a> {
    /// What one looks at who does not wait: `own` is what [`Group::own_slot`] returned.
    #[inline]
    pub(crate) fn of_looker(group: &'a Group, own: Option<&'a Slot>) -> Self {
        Self {
            group,
            own,
            is_consumer: own.is_some(),
            blocks: false,
        }
    }

    /// What one looks at who waits in `accept(2)`: `own` is what [`Group::enlist`] returned.
    fn of_waiter(group: &'a Group, own: Option<&'a Slot>) -> Self {
        Self {
            group,
            own,
            is_consumer: own.is_some_and(Slot::is_own),
            blocks: true,
        }
    }

    /// Does it look at its own slot alone, since nothing is to be seen elsewhere? What most looks find.
    #[inline]
    fn is_narrow(&self) -> bool {
        self.is_consumer
            && self.group.none_is_loaded()
            && self.own.is_some_and(|own| {
                !own.is_wide() && !own.is_one_of_several() && !self.only_looks(own)
            })
    }

    /// It neither waits now, nor is it registered: it has been told by somebody else that there is something, or by
    /// nobody.
    #[inline]
    fn only_looks(&self, own: &Slot) -> bool {
        !self.blocks && own.is_unattended()
    }

    /// The slots that the task looks at beside its own, the nearest first.
    ///
    /// A consumer looks at those that are loaded, at those that it left when it was moved, and when it
    /// has just registered at those that nobody waits at. To look at all would be to take the
    /// connections of siblings that are about to.
    fn others(&self) -> impl Iterator<Item = &'a Slot> {
        let all = !self.is_consumer || self.own.is_some_and(|own| self.only_looks(own));
        let wide = self.own.is_some_and(Slot::is_wide);
        let moved = self.own.is_some_and(Slot::is_one_of_several);
        let (group, node) = (self.group, CpuId::current().node());
        let is_seen = move |slot: &&Slot| {
            all || slot.is_loaded() || slot.is_own() || (wide && slot.is_unattended())
        };
        let many = (all || wide || moved).then(|| group.slots_near(node).filter(is_seen));
        let few = (!all && !wide && !moved).then(|| group.loaded_near(node));
        Iterator::chain(many.into_iter().flatten(), few.into_iter().flatten())
    }

    /// The slot that is looked at first.
    fn near(&self) -> Option<&'a Slot> {
        let here = || self.group.slot(CpuId::current());
        self.own.or_else(here)
    }

    fn take_global(&self, here: CpuId) -> Option<Connection> {
        let socket = self.group.socket();
        if socket.is_empty() {
            return None;
        }
        let connection = Connection::take_own(socket)?;
        self.group.took_global();
        if let Some(own) = self.own {
            // It comes again to its slot.
            own.took(own.is_own());
        }
        trace::accepted(socket, here, Origin::Global);
        Some(connection)
    }

    fn take_from(&self, slot: &Slot, here: CpuId, steals: bool) -> Option<Connection> {
        let connection = slot.queue().take()?;
        if steals {
            slot.stolen_from();
        } else {
            slot.took(slot.cpu() == here || slot.is_own());
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

impl protocol::View for View<'_> {
    type Connection = Connection;

    fn is_turn_of_own(&self) -> bool {
        let socket = self.group.socket();
        if socket.is_empty() {
            return false;
        }
        // Both were stamped when they came.
        let near = self.near().and_then(|near| near.queue().oldest());
        let own = socket.oldest();
        own.zip(near).is_some_and(|(own, near)| own.is_before(near))
    }

    fn take_own(&self) -> Option<Connection> {
        self.take_global(CpuId::current())
    }

    fn take_near(&self) -> Option<Connection> {
        self.take_from(self.near()?, CpuId::current(), false)
    }

    fn take_others(&self) -> Option<Connection> {
        if self.is_narrow() {
            return None;
        }
        let here = CpuId::current();
        self.others().find_map(|slot| {
            let steals = self.is_consumer && slot.is_loaded() && !slot.is_own();
            self.take_from(slot, here, steals)
        })
    }

    #[inline]
    fn slots_have_some(&self) -> bool {
        self.own.is_some_and(Slot::has_some)
            || (!self.is_narrow() && self.others().any(Slot::has_some))
    }

    fn own_has_some(&self) -> bool {
        !self.group.socket().is_empty()
    }

    /// From now on, the slot tells what comes.
    fn found_nothing(&self) {
        if let Some(own) = self.own.filter(|_| self.is_consumer) {
            own.narrow();
        }
    }

    fn pass_wakes_on(&self) {
        self.group.socket().pass_wake_on();
        if let Some(own) = self.own.filter(|own| own.has_some()) {
            own.wake();
        }
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
    let view = if blocks {
        View::of_waiter(group, group.enlist(Waits::Accepting))
    } else {
        View::of_looker(group, group.own_slot(None))
    };
    let waiters = view.own.map(Slot::waiters);
    let wait = || WaitQueue::wait(socket, waiters, &mut timeout, &|| view.has_some());
    view.accept(blocks, wait)?.ok_or(EAGAIN)
}
