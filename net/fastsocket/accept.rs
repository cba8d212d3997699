// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! `accept(2)` on a spawned socket.
//!
//! A consumer takes from its own slot first, and every few connections from the socket's own queue, which
//! is never starved; anybody else takes from wherever there is something. [`View`] is what `accept` and
//! `poll` look at, so that what the one promises the other keeps.

use kernel::{cpu::CpuId, prelude::*};

use crate::{
    ffi::AcceptCall,
    group::Group,
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
        let (group, node) = (self.group, CpuId::current_hint().node());
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
    pub(crate) fn has_some(&self) -> bool {
        let sees_some = || {
            !self.group.primary().is_empty()
                || self.own.is_some_and(Slot::has_some)
                || self.others().any(Slot::has_some)
        };
        self.look(|some| *some, sees_some)
    }

    /// Looks, and again if nothing was found while connections were being pushed: for a moment, those
    /// are in no queue.
    fn look<T>(&self, found: impl Fn(&T) -> bool, look: impl Fn() -> T) -> T {
        loop {
            let over = self.group.pushes_over();
            let seen = look();
            if found(&seen) || self.group.pushes_begun() == over {
                return seen;
            }
            core::hint::spin_loop();
        }
    }

    /// All was looked at, and nothing found: from now on, the own slot tells what comes.
    pub(crate) fn narrow(&self) {
        if let Some(own) = self.own.filter(|own| own.is_own()) {
            own.narrow();
        }
    }

    /// Takes a connection, without waiting.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if there is none, `EINVAL` if the socket does not listen.
    fn take(&self, call: &AcceptCall) -> Result {
        self.look(|res| !is_empty(res), || self.try_take(call))
    }

    /// [`take`](Self::take), but may miss what is being pushed.
    fn try_take(&self, call: &AcceptCall) -> Result {
        let here = CpuId::current_hint();
        let near = self.own.or_else(|| self.group.slot(here));

        let near_first = !near.is_some_and(Slot::yields);
        for near_now in [near_first, !near_first] {
            let res = match near {
                Some(slot) if near_now => self.take_from(call, slot, here, false),
                None if near_now => continue,
                _ => self.take_global(call, here),
            };
            if !is_empty(&res) {
                return res;
            }
        }
        for slot in self.others() {
            let steals = self.is_consumer() && slot.is_loaded() && !slot.is_own();
            let res = self.take_from(call, slot, here, steals);
            if !is_empty(&res) {
                return res;
            }
        }
        self.narrow();
        Err(EAGAIN)
    }

    fn take_global(&self, call: &AcceptCall, here: CpuId) -> Result {
        let primary = self.group.primary();
        if primary.is_empty() && primary.is_listening() {
            return Err(EAGAIN);
        }
        call.take(primary)?;
        self.group.took_global();
        if let Some(own) = self.own {
            // It was this queue's turn.
            own.took(here);
        }
        trace::accepted(primary, here, Origin::Global);
        Ok(())
    }

    fn take_from(&self, call: &AcceptCall, slot: &Slot, here: CpuId, steals: bool) -> Result {
        if !slot.has_some() {
            return Err(EAGAIN);
        }
        // A local listener that was stopped meanwhile is as good as empty.
        let local = slot.hold().ok_or(EAGAIN)?;
        call.take(&local)
            .map_err(|e| if e == EINVAL { EAGAIN } else { e })?;
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
        trace::accepted(self.group.primary(), here, from);
        Ok(())
    }
}

/// Was there nothing to take?
fn is_empty(res: &Result) -> bool {
    matches!(res, Err(e) if *e == EAGAIN)
}

/// Accepts a connection, or waits for one as long as the socket says. Process context; sleeps.
///
/// # Errors
///
/// As `accept(2)`: `EINVAL` if the socket does not listen, `EAGAIN` if there is nothing and it does not
/// wait, or not longer, `EINTR` or `ERESTARTSYS` if a signal comes.
pub(crate) fn accept(group: &Group, call: &AcceptCall) -> Result {
    let primary = group.primary();
    if !primary.is_listening() {
        return Err(EINVAL);
    }

    let mut timeout = call.timeout();
    let blocks = timeout != 0;
    let own = if blocks {
        group.enlist(Waits::Accepting)
    } else {
        group.own_slot(None)
    };
    let view = View::new(group, own);
    let mut slept = false;
    loop {
        match view.take(call) {
            Err(e) if e == EAGAIN && blocks => (),
            done => {
                if slept {
                    pass_wakes_on(&view);
                }
                return done;
            }
        }
        slept = true;
        let queue = own.map(Slot::queue);
        let res = WaitQueue::wait(primary, queue, &mut timeout, &|| view.has_some());
        if res.is_err() {
            pass_wakes_on(&view);
        }
        res?;
    }
}

/// A task that waits at two queues may be woken at both, and takes from one: wakes another for the rest.
fn pass_wakes_on(view: &View<'_>) {
    view.group.primary().pass_wake_on();
    if let Some(own) = view.own.filter(|own| own.has_some()) {
        own.queue().wake();
    }
}
