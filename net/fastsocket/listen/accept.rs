// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! `accept(2)` on a spawned socket.
//!
//! Who serves a slot takes the oldest of what that and the socket's own queue have, or what waits at a slot that is
//! loaded: if its own has nothing, or if that came long before. Anybody else takes from wherever there is something, and
//! serves there from then on. [`View`] is what `accept` and `poll` look at, so that what the one promises the other keeps.

use core::ptr;
use kernel::{cpu::CpuId, prelude::*, sync::rcu};

use super::{
    group::Group,
    protocol::{self, Queue as _, View as _},
    queue::Connection,
    slot::{Slot, Waits},
    trace::{self, Origin},
    wait::WaitQueue,
};
use crate::{placement::task, refs};

/// What a task is about to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// `poll`.
    Polls,
    /// `accept(2)` that does not wait.
    Tries,
    /// `accept(2)` that waits, if it has to.
    Waits,
}

/// The queues that the current task looks at.
pub(crate) struct View<'a> {
    group: &'a Group,
    /// The slot that it serves, alone or with others.
    own: Option<&'a Slot>,
    act: Act,
}

impl<'a> View<'a> {
    /// `own` is what [`Group::own_slot`] or [`Group::enlist`] returned.
    #[inline]
    pub(crate) fn new(group: &'a Group, own: Option<&'a Slot>, act: Act) -> Self {
        Self { group, own, act }
    }

    /// Does it look at its own slot alone, since nothing is to be seen elsewhere? What most looks find.
    #[inline]
    fn is_narrow(&self) -> bool {
        self.group.none_is_loaded()
            && self.own.is_some_and(|own| {
                !own.is_wide() && !own.is_one_of_several() && !self.only_looks(own)
            })
    }

    /// It neither waits now, nor is it registered, nor will it wait: it may have been told by somebody else that there
    /// is something.
    ///
    /// Who polls a file whose `accept(2)` waits is told of no more than that would take.
    #[inline]
    fn only_looks(&self, own: &Slot) -> bool {
        own.is_unattended()
            && match self.act {
                Act::Polls => !self.group.socket().blocks(),
                Act::Tries => true,
                Act::Waits => false,
            }
    }

    /// The slots that the task looks at beside its own, the nearest first.
    ///
    /// Who serves a slot looks at those that are loaded, at those that it left when it was moved, and when it
    /// has just come at those that nobody waits at. If it only looks, at those that another thread of its process may
    /// have been told of; and at all if it was told already that there is nothing. To look at all at once would be to
    /// take the connections of siblings that are about to.
    fn others(&self) -> impl Iterator<Item = &'a Slot> {
        let all = self.own.is_none();
        let wide = self.own.is_some_and(Slot::is_wide);
        let moved = self.own.is_some_and(Slot::is_one_of_several);
        let looks = self.own.is_some_and(|own| self.only_looks(own));
        let denied = looks && self.own.is_some_and(Slot::is_denied);
        let (group, node) = (self.group, CpuId::current().node());
        let is_seen = move |slot: &&Slot| {
            all || denied
                || slot.is_loaded()
                || slot.is_own()
                || (wide && slot.is_unattended())
                || (looks && slot.is_of_this_process())
        };
        let several = all || wide || moved || looks;
        let many = several.then(|| group.slots_near(node).filter(is_seen));
        let few = (!several).then(|| group.loaded_near(node));
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
            own.took(None);
            task::took();
            self.group.pass_call_on();
        }
        self.group.note_taken();
        trace::accepted(socket, here, Origin::Global);
        Some(connection)
    }

    fn take_from(&self, slot: &Slot, here: CpuId) -> Option<Connection> {
        let connection = slot.queue().take()?;
        if slot.is_loaded() && !slot.has_some() {
            self.group.calm(slot);
        }
        let serves = self.own.is_some_and(|own| ptr::eq(own, slot)) || slot.is_own();
        let placed = task::took();
        self.group.note_taken();
        if serves {
            slot.took(Some(&connection));
            self.group.pass_call_on();
        } else {
            slot.stolen_from();
            self.group.call_for(self.own);
        }
        if !placed {
            self.group.follow(slot);
        }
        self.group.pass_wake_on();
        let from = match slot.cpu() {
            cpu if self.own.is_some() && !serves => Origin::Stolen(cpu),
            cpu if cpu == here => Origin::Local(cpu),
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

    fn take_overdue(&self) -> Option<Connection> {
        let slot = self.group.overdue(self.own?)?;
        self.take_from(slot, CpuId::current())
    }

    fn take_near(&self) -> Option<Connection> {
        self.take_from(self.near()?, CpuId::current())
    }

    fn take_others(&self) -> Option<Connection> {
        if self.is_narrow() {
            return None;
        }
        let here = CpuId::current();
        self.others().find_map(|slot| self.take_from(slot, here))
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
        if let Some(own) = self.own {
            own.found_nothing();
        }
    }

    fn pass_wakes_on(&self) {
        self.group.socket().pass_wake_on();
        if let Some(own) = self.own.filter(|own| own.has_some()) {
            own.wake(own.enough());
        }
        if !self.group.none_is_loaded() {
            self.group.pass_help_on();
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
    let waits = timeout != 0;
    let view = if waits {
        View::new(group, group.enlist(Waits::Accepting), Act::Waits)
    } else {
        View::new(group, group.own_slot(), Act::Tries)
    };
    let waiters = view.own.map(Slot::waiters);
    let wait = || WaitQueue::wait(socket, waiters, &mut timeout, &|| view.has_some());
    let taken = view.accept(waits, wait)?;
    if let (None, Some(own)) = (&taken, view.own) {
        if own.is_unattended() {
            own.deny();
        }
    }
    let taken = taken.ok_or(EAGAIN)?;
    refs::resume(socket.net(), &rcu::Guard::new());
    Ok(taken)
}
