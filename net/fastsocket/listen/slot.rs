// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! A slot: the accept queue of a socket on one CPU.
//!
//! It has a queue of connections whose packets this CPU received, and a wait queue, at which the tasks wait
//! that serve this CPU. One of those is its consumer: the task that waited there first since another
//! did. While it is the consumer, it looks at this queue and the socket's own, and at few others: see
//! [`View`](super::accept::View).
//!
//! So a queue that its consumer forgets would be lost to all. While a slot's queue is not empty, a timer
//! looks after it at each tick: it calls idle consumers to a queue that is slow ([`steal`](super::steal)),
//! and moves what nobody takes to the socket's own queue, of which every waiter hears ([`patience`]).

use core::ptr::{self, NonNull};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    bindings, container_of,
    cpu::{CpuId, Node as NumaNode},
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
    sync::rcu::{self, RcuCell, Unshared},
    time::msecs_to_jiffies,
    types::ARef,
};

use super::{
    limit::{self, Requests, Room, Sum},
    listener::Listener,
    protocol::{self, Queue as _},
    queue::Queue,
    steal::{self, Age},
    wait::{Callback, Timer, WaitQueue},
};
use crate::placement::task::{self, Pid, TaskState};

/// How many ticks a queue may stand still while its consumer sleeps: it was woken, and may just not have
/// got as far as to look.
const PATIENCE_ASLEEP: u32 = 2;

/// How long a queue may stand still while its consumer is running, in milliseconds. A worker that takes
/// longer over what it does between two looks at its sockets makes others wait, and they may be idle.
const PATIENCE_RUNNING_MS: u32 = 100;

/// How a task waits for connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// It polls: it is registered at the wait queue all the time.
    Registered,
    /// In `accept(2)`: it is at the wait queue while it has nothing else to do.
    Accepting,
}

/// How many connections are pushed at a tick: each is a piece of work for a softirq, and wakes somebody.
const PUSHED_AT_ONCE: u32 = 128;

/// What the CPU of a slot knows of the socket's limits.
struct Limits {
    room: Room,
    half_open: Sum,
    young: Sum,
}

/// Who serves a slot, and how.
struct Duty {
    consumer: RcuCell<Pid>,
    /// The consumer, as a number.
    id: Atomic<usize>,
    /// It waits in `accept(2)`: that it is not at the wait queue means nothing.
    accepts: Atomic<bool>,
    /// It let the queue stand: no more connections, until it is back.
    stalled: Atomic<bool>,
    /// Who has become the consumer just now, as a number, or 0: slots that nobody serves may hold what
    /// came before.
    wide: Atomic<usize>,
    /// The consumer is that of another slot, too: it was moved, and nobody has followed it there.
    one_of_several: Atomic<bool>,
    /// Somebody has followed one who was moved, and may have stayed registered: he looks elsewhere, and who is
    /// woken one at a time is not to be him.
    was_left: Atomic<bool>,
}

/// How the queue of a slot moves.
struct Pace {
    /// How many connections were taken, and how many of them by idle consumers of other slots.
    taken: Atomic<u32>,
    stolen: Atomic<u32>,
    /// For the timer: how many others had taken when it fired last, and how often in a row it was that
    /// already.
    seen: Atomic<u32>,
    still: Atomic<u32>,
    age: Age,
    /// Connections wait for long here: whoever is idle may take them. The timer says so, and is armed
    /// while it is set.
    loaded: Atomic<bool>,
}

/// What puts a slot into a chain of [`Peers`](super::reuseport::Peers), whose it is.
pub(crate) struct Link {
    pub(crate) next: Atomic<*mut Slot>,
    /// Null for the first.
    pub(crate) previous: Atomic<*mut Slot>,
}

impl Link {
    pub(crate) const fn new() -> Self {
        Self {
            next: Atomic::new(ptr::null_mut()),
            previous: Atomic::new(ptr::null_mut()),
        }
    }
}

/// The accept queue of a socket on one CPU.
///
/// Softirqs find it under RCU: by its [`Group`](super::group::Group), by requests that count here, and by the timer. It is freed
/// with its group, a grace period after the socket was destroyed and the last such request freed.
#[pin_data]
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// What C knows it by.
    requests: Requests,
    #[pin]
    queue: Queue,
    limits: Limits,
    cpu: CpuId,
    node: NumaNode,
    socket: ARef<Listener>,
    link: Link,
    #[pin]
    waiters: WaitQueue,
    duty: Duty,
    pace: Pace,
    #[pin]
    timer: Timer,
}

// SAFETY: What changes in it is atomic, or has locks of its own.
unsafe impl Send for Slot {}

// SAFETY: As above.
unsafe impl Sync for Slot {}

impl Slot {
    /// Makes a slot. Process context.
    ///
    /// # Safety
    ///
    /// `tick` must be good to be called with a pointer to its timer.
    pub(crate) unsafe fn new(
        socket: ARef<Listener>,
        cpu: CpuId,
        tick: Callback,
    ) -> Result<Unshared<Self>> {
        let slot = try_pin_init!(Self {
            requests: Requests::new(),
            queue <- Queue::new(),
            limits: Limits {
                room: Room::new(),
                half_open: Sum::new(),
                young: Sum::new(),
            },
            cpu,
            node: cpu.node(),
            socket,
            link: Link::new(),
            waiters <- WaitQueue::new(),
            duty: Duty {
                consumer: RcuCell::new(None),
                id: Atomic::new(0),
                accepts: Atomic::new(false),
                stalled: Atomic::new(false),
                wide: Atomic::new(0),
                one_of_several: Atomic::new(false),
                was_left: Atomic::new(false),
            },
            pace: Pace {
                taken: Atomic::new(0),
                stolen: Atomic::new(0),
                seen: Atomic::new(0),
                still: Atomic::new(0),
                age: Age::new(),
                loaded: Atomic::new(false),
            },
            // SAFETY: By the safety requirements; a slot is freed a grace period after the timer was shut down.
            timer <- unsafe { Timer::new(tick) },
        }? Error);
        Unshared::try_pin_init(slot, GFP_KERNEL_ACCOUNT)
    }

    /// Returns the slot that C knows as this. What C has as one is the first part of a slot.
    pub(crate) fn from_raw(slot: NonNull<bindings::fastsocket_slot>) -> NonNull<Self> {
        slot.cast()
    }

    /// Returns the slot that a timer is of.
    ///
    /// # Safety
    ///
    /// It must be that of a slot, which is not freed for `'a`.
    pub(crate) unsafe fn from_timer<'a>(timer: *mut bindings::timer_list) -> &'a Self {
        // SAFETY: By the safety requirements.
        unsafe { &*container_of!(timer, Slot, timer) }
    }

    pub(crate) fn cpu(&self) -> CpuId {
        self.cpu
    }

    pub(crate) fn node(&self) -> NumaNode {
        self.node
    }

    /// The socket that it is of.
    pub(crate) fn socket(&self) -> &Listener {
        &self.socket
    }

    /// The requests that count here.
    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// How many requests count at all slots, by what `others` says of the other ones? For its CPU.
    pub(crate) fn all_requests(&self, young: bool, others: impl FnOnce() -> i32) -> i32 {
        let sum = if young {
            &self.limits.young
        } else {
            &self.limits.half_open
        };
        sum.get(limit::now(), self.requests.number(young), others)
    }

    /// How many connections its CPU may add. For its CPU.
    pub(crate) fn room(&self) -> &Room {
        &self.limits.room
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// Where tasks wait that serve it.
    pub(crate) fn waiters(&self) -> &WaitQueue {
        &self.waiters
    }

    /// Wakes who serves it, of those who wait exclusively one. Any context.
    pub(crate) fn wake(&self) {
        self.waiters.wake(self.duty.was_left.load(Relaxed));
    }

    /// The connections that wait here.
    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Is it to take another connection? If not, why is the socket's own queue? Softirq.
    ///
    /// One that has half of what the program wants to wait leaves the rest to others; one that is stalled
    /// gets nothing. One that is only loaded does: idle consumers take from it what is there, and if there
    /// is none, a place in the queue of all is no better than one here, but further away.
    #[inline]
    pub(crate) fn admits(&self, guard: &rcu::Guard) -> Result<(), Unfit> {
        if !self.is_served(guard) {
            return Err(Unfit::Unserved);
        }
        if self.duty.stalled.load(Relaxed) || self.queue.length() > self.socket.backlog() / 2 {
            return Err(Unfit::Overflows);
        }
        Ok(())
    }

    /// Is there anybody who will look at the queue soon? Any context.
    ///
    /// A consumer that is out of `accept(2)` is to come back, but not worth to wait for while another
    /// task has nothing to do.
    #[inline]
    fn is_served(&self, guard: &rcu::Guard) -> bool {
        self.waiters.is_active()
            || (self.duty.accepts.load(Relaxed) && !WaitQueue::is_active_at(&self.socket, guard))
    }

    /// A connection that was queued is ready. Any context but hardirq.
    pub(crate) fn data_ready(&self) {
        self.wake();
    }

    /// Is there something to take? Any context.
    pub(crate) fn has_some(&self) -> bool {
        !self.queue.is_empty()
    }

    /// A connection was taken, or one from the socket's own queue instead; `serves` says whether by a
    /// task that will come again.
    pub(crate) fn took(&self, serves: bool) {
        self.pace.taken.fetch_add(1, Relaxed);
        if serves {
            self.attend(None);
        }
    }

    /// A consumer of another slot has taken a connection. That says nothing of how this one is served.
    pub(crate) fn stolen_from(&self) {
        self.pace.stolen.fetch_add(1, Relaxed);
        self.pace.taken.fetch_add(1, Relaxed);
    }

    /// Is the current task its consumer?
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        self.consumer_id() == task::current_id()
    }

    /// Returns the number of its consumer; that of no task if it had none yet.
    #[inline]
    pub(crate) fn consumer_id(&self) -> usize {
        self.duty.id.load(Relaxed)
    }

    /// Is there a consumer that is alive? Any context.
    pub(crate) fn has_consumer(&self) -> bool {
        let guard = rcu::Guard::new();
        let lives = |pid: &Pid| pid.task_state() != TaskState::Gone;
        self.duty.consumer.get(&guard).is_some_and(lives)
    }

    /// The consumer is here, and looks; it may say how it will wait.
    #[inline]
    pub(crate) fn attend(&self, waits: Option<Waits>) {
        if self.duty.stalled.load(Relaxed) {
            self.duty.stalled.store(false, Relaxed);
        }
        if let Some(waits) = waits {
            let accepts = waits == Waits::Accepting;
            if self.duty.accepts.load(Relaxed) != accepts {
                self.duty.accepts.store(accepts, Relaxed);
            }
        }
    }

    /// Does nobody wait at the queue? An answer that may be old. Any context.
    pub(crate) fn is_unattended(&self) -> bool {
        !self.waiters.is_active()
    }

    /// May idle consumers of other slots take from it? Any context.
    #[inline]
    pub(crate) fn is_loaded(&self) -> bool {
        self.pace.loaded.load(Relaxed)
    }

    /// Is its consumer about to do nothing? An answer that may be old. Any context.
    pub(crate) fn is_idle(&self, guard: &rcu::Guard) -> bool {
        let waits = |pid: &Pid| pid.task_state() == TaskState::Waiting;
        self.waiters.is_active()
            && !self.duty.stalled.load(Relaxed)
            && !self.has_some()
            && self.duty.consumer.get(guard).is_some_and(waits)
    }

    /// Does the consumer have to look at other slots, too?
    #[inline]
    pub(crate) fn is_wide(&self) -> bool {
        let wide = self.duty.wide.load(Relaxed);
        wide != 0 && wide == task::current_id()
    }

    /// The consumer has seen that those were empty. Another may be it by now, who has not.
    #[inline]
    pub(crate) fn narrow(&self) {
        if self.is_wide() {
            let me = task::current_id();
            let _ = self.duty.wide.cmpxchg(me, 0, Relaxed);
        }
    }

    /// Does the consumer have to look at slots that it served before?
    #[inline]
    pub(crate) fn is_one_of_several(&self) -> bool {
        self.duty.one_of_several.load(Relaxed)
    }

    pub(crate) fn set_one_of_several(&self, several: bool) {
        if self.is_one_of_several() != several {
            self.duty.one_of_several.store(several, Relaxed);
        }
    }

    /// Makes the current task the consumer. For the group, which has one do it at a time.
    pub(crate) fn enlist(&self, consumer: Unshared<Pid>, waits: Waits) {
        if self.is_one_of_several() && !self.is_own() {
            self.duty.was_left.store(true, Relaxed);
        }
        // Readers are done with the one before when its reference is dropped.
        self.duty.consumer.set(Some(consumer));
        self.duty.id.store(task::current_id(), Relaxed);
        self.duty.wide.store(task::current_id(), Relaxed);
        self.attend(Some(waits));
    }

    /// Shuts the timer down, for ever. Any context but hardirq.
    pub(crate) fn shut_down(&self) {
        self.timer.shut_down();
    }

    /// Looks at the queue at a tick, and judges. Softirq.
    pub(crate) fn judge(&self, waits: bool, guard: &rcu::Guard) -> Verdict {
        if !waits {
            self.pace.still.store(0, Relaxed);
            self.pace.loaded.store(false, Relaxed);
            return Verdict {
                loaded: false,
                push: 0,
            };
        }

        let taken = self.pace.taken.load(Relaxed);
        let loaded = steal::late(self.pace.age.tick(taken, self.queue.length()));
        self.pace.loaded.store(loaded, Relaxed);

        let served = taken.wrapping_sub(self.pace.stolen.load(Relaxed));
        let still = if self.pace.seen.xchg(served, Relaxed) == served {
            self.pace.still.load(Relaxed).saturating_add(1)
        } else {
            0
        };
        self.pace.still.store(still, Relaxed);

        let consumer = self
            .duty
            .consumer
            .get(guard)
            .map_or(TaskState::Gone, Pid::task_state);
        let service = match (self.waiters.is_active(), self.is_served(guard)) {
            (true, _) => Service::AtQueue,
            (false, true) => Service::Away,
            (false, false) => Service::None,
        };
        let running = msecs_to_jiffies(PATIENCE_RUNNING_MS) as u32;
        if still < patience(service, consumer, running) {
            return Verdict { loaded, push: 0 };
        }
        self.duty.stalled.store(true, Relaxed);
        if consumer == TaskState::Gone {
            self.duty.accepts.store(false, Relaxed);
        }
        Verdict {
            loaded,
            push: PUSHED_AT_ONCE,
        }
    }
}

/// The timer looks after a connection from when it was queued, also if nobody is told of it: a handshake that
/// fails in its last step leaves its child in the queue, and wakes nobody.
impl protocol::Slot for Slot {
    type Queue = Queue;

    fn queue(&self) -> &Queue {
        &self.queue
    }

    fn socket(&self) -> &Listener {
        &self.socket
    }

    #[inline]
    fn arm(&self) {
        self.timer.arm();
    }
}

/// What a tick has found.
pub(crate) struct Verdict {
    /// Idle consumers may take from the slot.
    pub(crate) loaded: bool,
    /// How many connections go to the socket's own queue.
    pub(crate) push: u32,
}

/// Why a slot does not take a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Nobody serves it.
    Unserved,
    /// Its consumer does not keep up.
    Overflows,
}

/// Who looks after a queue.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    /// Nobody.
    None,
    /// A task that is not at the wait queue, but will come.
    Away,
    /// A task that is at the wait queue.
    AtQueue,
}

/// For how many ticks a queue that is not empty may stand still before it is given to all, by who looks
/// after it and what the consumer does. `running` is the answer for one who has not got there yet.
fn patience(service: Service, consumer: TaskState, running: u32) -> u32 {
    match (service, consumer) {
        (Service::None, _) => 0,
        (_, TaskState::Gone | TaskState::Stopped) => 0,
        (Service::Away, _) | (_, TaskState::Waiting) => PATIENCE_ASLEEP,
        (Service::AtQueue, TaskState::Running) => running,
    }
}

#[kernel::macros::kunit_tests(fastsocket_slot)]
mod tests {
    use super::*;

    const LONG: u32 = 25;
    const ALL: [TaskState; 4] = [
        TaskState::Gone,
        TaskState::Stopped,
        TaskState::Waiting,
        TaskState::Running,
    ];

    #[test]
    fn a_queue_that_nobody_serves_is_pushed_at_once() {
        for consumer in ALL {
            assert_eq!(patience(Service::None, consumer, LONG), 0);
        }
    }

    #[test]
    fn a_consumer_that_cannot_run_is_not_waited_for() {
        for service in [Service::Away, Service::AtQueue] {
            assert_eq!(patience(service, TaskState::Gone, LONG), 0);
            assert_eq!(patience(service, TaskState::Stopped, LONG), 0);
        }
    }

    #[test]
    fn a_sleeper_gets_time_to_wake_up() {
        assert_eq!(
            patience(Service::AtQueue, TaskState::Waiting, LONG),
            PATIENCE_ASLEEP
        );
    }

    #[test]
    fn only_a_busy_consumer_at_its_queue_gets_long() {
        assert_eq!(patience(Service::AtQueue, TaskState::Running, LONG), LONG);
        assert_eq!(
            patience(Service::Away, TaskState::Running, LONG),
            PATIENCE_ASLEEP
        );
    }
}
