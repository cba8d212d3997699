// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Listen spawn: a listening socket has a queue of connections for each CPU.
//!
//! Follow a connection: [`hooks`] (where C enters), [`group`], [`slots`] and [`slot`] (what a socket has for each CPU),
//! [`queue`] (where it waits) and [`protocol`] (what is done there in which order), [`accept`] and [`poll`] (how a program gets at it), [`limit`] (how many may wait).
//! [`help`] says who is to come, and [`choice`] which CPU the next worker serves.
//! [`spawn`] makes a socket ours, [`socket`] and [`listener`] are what TCP has. [`steal`] is about slots that are
//! slow, [`reuseport`] about sockets that share them. [`wait`] wakes, [`stamp`] tells the time, and [`trace`] what happens.
//!
//! Called by the TCP stack, and by the room that takes commands. It asks `placement` which CPU a task serves.

// Locks, outermost first:
//
// 1. The socket lock of one that is being spawned. A user can keep it for as long as they like, so nothing
//    that others need is held over it.
// 2. [`spawn::Spawning`], a spinlock: one socket is spawned at a time, so that each sees its group's.
// 3. Spinlocks, under which nothing is taken: those of what SO_REUSEPORT groups share (their writers), and of
//    a group (who becomes a consumer of its slots).
// 4. That of a slot's queue, a spinlock that softirqs take, and under it the one of the socket's own.
//
// No task sleeps, or is preempted, while it holds what others wait for.

pub(crate) mod accept;
pub(crate) mod choice;
pub(crate) mod group;
pub(crate) mod help;
pub(crate) mod hooks;
pub(crate) mod limit;
pub(crate) mod listener;
pub(crate) mod poll;
pub(crate) mod protocol;
pub(crate) mod queue;
pub(crate) mod reuseport;
pub(crate) mod slot;
pub(crate) mod slots;
pub(crate) mod socket;
pub(crate) mod spawn;
pub(crate) mod stamp;
pub(crate) mod steal;
pub(crate) mod trace;
pub(crate) mod wait;

/// What [`protocol`] is built with: on the host it is loom's.
mod prim {
    pub(crate) use core::sync::atomic::{fence, AtomicU32, Ordering};
}
