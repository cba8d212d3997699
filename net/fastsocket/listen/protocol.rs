// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! The protocol of a queue: who has to do what in which order, so that no connection is lost between CPUs.
//!
//! What happens to a connection, on any CPU at any time:
//!
//! - It *arrives* in a slot's queue, a timer looks after it, and the tasks that wait at the slot are woken.
//! - If none of them comes, help is *called*: the slot is loaded, and somebody who is idle is woken. Who takes the
//!   last one from a slot that is loaded *calms* it.
//! - A task *takes* it. A task that is about to sleep registers first, at its slot and at the socket; then
//!   it looks once more, at slots first and at the socket's own queue last.
//! - The timer *pushes* it to the socket's own queue, and wakes those who wait there.
//! - The socket *stops* to listen: what waits at its slots goes to its own queue, which is emptied next.
//!
//! No wake-up is lost, nothing is stranded, and nothing taken twice. `tools/testing/fastsocket/interleave`
//! builds this very file with other atomics and another list, goes through all orders, and checks that each
//! line which matters is missed when it is gone. So there is nothing of the kernel's in here: what a queue
//! is made of, the implementors of these traits say.

use super::prim::{fence, AtomicU32, Ordering};
use core::ops::DerefMut;

/// Connections in the order of their arrival.
pub(crate) trait List: Sized {
    /// A connection that nobody has accepted yet.
    type Connection;

    /// Appends one.
    fn push(&mut self, connection: Self::Connection);

    /// Takes the oldest.
    fn pop(&mut self) -> Option<Self::Connection>;

    /// Takes up to so many of the oldest: another list.
    fn split(&mut self, most: u32) -> Self;

    /// How many there are.
    fn length(&self) -> u32;
}

/// A listening socket, and its own queue.
pub(crate) trait Socket {
    /// What its own queue takes.
    type List: List;

    /// Does it listen? Who stops it says so before it [stops](stop) its slots.
    fn is_listening(&self) -> bool;

    /// Appends connections, of which there are some, to its own queue. The lock of a slot's queue is held.
    fn append(&self, list: Self::List);

    /// Wakes so many of those who wait exclusively at the socket, and all others. Has a full barrier before
    /// it looks who waits.
    fn wake(&self, number: u32);
}

/// How many connections wait in a queue. Written under its lock; who looks without that looks here.
pub(crate) struct Length(AtomicU32);

impl Length {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    #[inline]
    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Pairs with [`publish`](Self::publish): who sees that connections are gone sees where they went.
    #[inline]
    fn is_zero(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    #[inline]
    fn publish(&self, length: u32) {
        self.0.store(length, Ordering::Release);
    }
}

/// The connections that wait at a slot.
pub(crate) trait Queue {
    /// A listening socket.
    type Socket: Socket;

    /// The list while it is locked.
    type Locked<'a>: DerefMut<Target = <Self::Socket as Socket>::List>
    where
        Self: 'a;

    /// Locks the list. Whoever has the lock next sees what was done under it.
    fn lock(&self) -> Self::Locked<'_>;

    /// The length of the list.
    fn published(&self) -> &Length;

    /// How many connections wait? An answer that may be old.
    #[inline]
    fn length(&self) -> u32 {
        self.published().get()
    }

    /// Does none wait?
    ///
    /// What is then looked at in the socket's own queue is what was moved there until now.
    #[inline]
    fn is_empty(&self) -> bool {
        self.published().is_zero()
    }

    /// Adds a connection of a socket, unless that has left `TCP_LISTEN`. `admitted` is called for one that
    /// is added, before anybody can take it.
    #[inline]
    fn arrive(
        &self,
        socket: &Self::Socket,
        connection: Connection<Self>,
        admitted: impl FnOnce(&Connection<Self>),
    ) -> Result<(), Connection<Self>> {
        let mut list = self.lock();
        // Under the lock: who stops the socket looks here afterwards.
        if !socket.is_listening() {
            return Err(connection);
        }
        admitted(&connection);
        list.push(connection);
        self.published().publish(list.length());
        Ok(())
    }

    /// Takes the oldest.
    #[inline]
    fn take(&self) -> Option<Connection<Self>> {
        if self.is_empty() {
            return None;
        }
        let mut list = self.lock();
        let connection = list.pop()?;
        self.published().publish(list.length());
        Some(connection)
    }

    /// Moves up to so many of the oldest to the socket's own queue. Returns how many were moved.
    ///
    /// Also if the socket has left `TCP_LISTEN`: who [stops](stop) it locks this queue before that one is emptied,
    /// and leaves nothing here.
    #[inline]
    fn push(&self, socket: &Self::Socket, most: u32) -> u32 {
        let mut list = self.lock();
        let moved = list.split(most);
        let number = moved.length();
        if number > 0 {
            // In this order: who sees that they are not here sees that they are there.
            socket.append(moved);
            self.published().publish(list.length());
        }
        number
    }
}

/// What waits in a queue.
pub(crate) type Connection<Q> = <<<Q as Queue>::Socket as Socket>::List as List>::Connection;

/// A socket has left `TCP_LISTEN`: moves what waits at its slots to its own queue, which is emptied next.
///
/// Nothing is added to the slots afterwards: [`Queue::arrive`] looks under the lock.
#[inline]
pub(crate) fn stop<'a, Q: Queue + 'a>(queues: impl Iterator<Item = &'a Q>, socket: &Q::Socket) {
    for queue in queues {
        queue.push(socket, u32::MAX);
    }
}

/// A queue with a timer that looks after it.
pub(crate) trait Slot {
    /// Its queue.
    type Queue: Queue;

    /// Returns its queue.
    fn queue(&self) -> &Self::Queue;

    /// Returns the socket that it is of.
    fn socket(&self) -> &<Self::Queue as Queue>::Socket;

    /// Lets the timer fire, unless it will anyway. To learn that needs no order.
    fn arm(&self);

    /// A connection was queued: the timer looks after it from now on.
    #[inline]
    fn look_after(&self) {
        // Pairs with the one in `tick`: either the timer sees the connection, or it is seen to be not armed.
        fence(Ordering::SeqCst);
        self.arm();
    }

    /// The timer has fired, and is not armed any more.
    ///
    /// `judge` is told whether connections wait, and says how many of them are to be pushed now. Returns how
    /// many were.
    #[inline]
    fn tick(&self, judge: impl FnOnce(bool) -> u32) -> u32 {
        // Pairs with the one in `look_after`.
        fence(Ordering::SeqCst);
        let waits = !self.queue().is_empty();
        let most = judge(waits);
        if !waits {
            return 0;
        }
        let mut pushed = 0;
        if most > 0 {
            pushed = self.queue().push(self.socket(), most);
            self.socket().wake(pushed);
        }
        self.arm();
        pushed
    }
}

/// A queue from which others may take while it is *loaded*, since whoever serves it does not come.
pub(crate) trait Helped {
    /// The queue.
    type Queue: Queue;

    /// Returns the queue.
    fn queue(&self) -> &Self::Queue;

    /// Says whether others may take from it: those who look elsewhere see that.
    fn set_loaded(&self, loaded: bool);

    /// Wakes one who is idle, if there is one: he looks at what is loaded before he sleeps again.
    fn wake_one(&self);

    /// A connection waits, and nobody comes for it.
    fn call(&self) {
        self.set_loaded(true);
        // Pairs with the barrier of who is about to sleep: he is seen to be idle, or sees that it is loaded.
        fence(Ordering::SeqCst);
        self.wake_one();
        // Who was quicker did not find it loaded.
        if self.queue().is_empty() && self.settle() {
            fence(Ordering::SeqCst);
            self.wake_one();
        }
    }

    /// The last one was taken from it.
    #[inline]
    fn calm(&self) {
        if self.settle() {
            // Who was woken for that one may have looked while it was not loaded.
            self.call();
        }
    }

    /// It is not loaded any more. Returns whether it is, since one came meanwhile.
    fn settle(&self) -> bool {
        self.set_loaded(false);
        // Pairs with the one in `look_after`: one that came meanwhile is seen, or has found it not loaded.
        fence(Ordering::SeqCst);
        let some = !self.queue().is_empty();
        if some {
            self.set_loaded(true);
        }
        some
    }
}

/// The queues that a task looks at, and how it waits.
///
/// What [`has_some`](Self::has_some) promises, [`take`](Self::take) keeps.
pub(crate) trait View {
    /// A connection.
    type Connection;

    /// Is it the turn of the socket's own queue, if that has something?
    fn is_turn_of_own(&self) -> bool;

    /// Takes a connection from the socket's own queue.
    fn take_own(&self) -> Option<Self::Connection>;

    /// Takes a connection from another slot that the task looks at, if one has waited there for so long that it goes
    /// before those of its own.
    fn take_overdue(&self) -> Option<Self::Connection>;

    /// Takes a connection from the slot that the task serves, or that it is nearest to.
    fn take_near(&self) -> Option<Self::Connection>;

    /// Takes a connection from the other slots that the task looks at.
    fn take_others(&self) -> Option<Self::Connection>;

    /// Is there something at the slots that the task looks at?
    fn slots_have_some(&self) -> bool;

    /// Is there something in the socket's own queue?
    fn own_has_some(&self) -> bool;

    /// All was looked at, and nothing found.
    fn found_nothing(&self);

    /// Wakes another one who waits at the socket, or at the slot that the task serves, for each that has
    /// something.
    fn pass_wakes_on(&self);

    /// Is there something to take? The caller has registered, with a full barrier, if it is about to wait.
    #[inline]
    fn has_some(&self) -> bool {
        // In this order: what is moved meanwhile is seen.
        self.slots_have_some() || self.own_has_some()
    }

    /// Takes a connection, without waiting.
    #[inline]
    fn take(&self) -> Option<Self::Connection> {
        let mut taken = None;
        if self.is_turn_of_own() {
            taken = self.take_own();
        }
        let taken = taken
            .or_else(|| self.take_overdue())
            .or_else(|| self.take_near())
            .or_else(|| self.take_own())
            .or_else(|| self.take_others())
            // What was moved there meanwhile.
            .or_else(|| self.take_own());
        if taken.is_none() {
            self.found_nothing();
        }
        taken
    }

    /// Takes a connection, and waits for one if the task `waits`.
    ///
    /// `wait` registers at the slot and at the socket; then, after a full barrier, it looks by
    /// [`has_some`](Self::has_some), and sleeps if there is nothing. It waits exclusively, at both: the wake-ups
    /// of both may have been for this task, which takes one connection, or none if it is interrupted. So it
    /// wakes others for the rest.
    #[inline]
    fn accept<E>(
        &self,
        waits: bool,
        mut wait: impl FnMut() -> Result<(), E>,
    ) -> Result<Option<Self::Connection>, E> {
        let mut slept = false;
        loop {
            let taken = self.take();
            if taken.is_some() && slept {
                self.pass_wakes_on();
            }
            if taken.is_some() || !waits {
                return Ok(taken);
            }
            slept = true;
            if let Err(err) = wait() {
                self.pass_wakes_on();
                return Err(err);
            }
        }
    }
}
