// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! A slot: the accept queue of a socket on one CPU.
//!
//! It has a queue of connections whose packets this CPU received, and a wait queue, at which the tasks wait
//! that serve this CPU. They look at this queue and the socket's own, and at few others: see
//! [`View`](super::accept::View). The one that came last is its consumer.
//!
//! So a connection that none of them is about to take would be lost to all. It is announced when it was queued,
//! which tells whether one who serves comes ([`Group::announce`](super::group::Group::announce)); if not, the slot is
//! *loaded*: whoever is idle takes from it ([`steal`](super::steal)). While its queue is not empty, a timer
//! looks after it at each tick, and has to do nothing unless somebody who was woken does not come: it calls for help,
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
    limit::{Requests, Room, Sum},
    listener::Listener,
    protocol::{self, Queue as _},
    queue::{Connection, Queue},
    stamp::Stamp,
    steal::{self, Age, Called, Credit},
    wait::{Callback, Timer, WaitQueue, Woken},
};
use crate::{
    core::clock,
    module_parameters,
    placement::task::{self, Pid, TaskState},
};

/// How long a queue may stand still before all is given to all, in milliseconds, if somebody lives who could take from
/// it: others are called long before.
const PATIENCE_MS: u32 = 100;

/// How a task waits for connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// It polls: it is registered at the wait queue, maybe all the time.
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
    /// Who came last.
    consumer: RcuCell<Pid>,
    /// The consumer, as a number, and its process.
    id: Atomic<usize>,
    process: Atomic<usize>,
    /// All who came: a bit for each, which some may share.
    servers: Atomic<usize>,
    /// The consumer waits in `accept(2)`: that it is not at the wait queue means nothing.
    accepts: Atomic<bool>,
    /// Somebody who serves here has taken a connection.
    proven: Atomic<bool>,
    /// Since one did last, one has looked and found nothing.
    looked: Atomic<bool>,
    /// Since one did last, whoever was woken did not come.
    late: Atomic<bool>,
    /// Since the consumer came, somebody who was woken did not.
    doubted: Atomic<bool>,
    /// They let the queue stand: no more connections, until one is back.
    stalled: Atomic<bool>,
    /// One of them was told that there is nothing, and has not waited since: others may know better.
    denied: Atomic<bool>,
    /// The CPU was chosen for a task that is not there yet.
    expects: Atomic<bool>,
    /// Who has become the consumer just now, as a number, or 0: slots that nobody serves may hold what
    /// came before.
    wide: Atomic<usize>,
    /// The consumer is that of another slot, too: it was moved, and nobody has followed it there.
    one_of_several: Atomic<bool>,
}

/// How the queue of a slot moves.
struct Pace {
    /// How many connections were taken.
    taken: Atomic<u32>,
    /// For the timer: how many had been when it fired last, and how often in a row it was that already.
    seen: Atomic<u32>,
    still: Atomic<u32>,
    age: Age,
    /// A connection waits that was left to whoever serves here, though all were busy.
    left: Atomic<bool>,
    /// May any be?
    credit: Credit,
    /// A connection waits that came while whoever serves here slept elsewhere.
    missed: Atomic<bool>,
    /// May any come that a hash has for another member of its SO_REUSEPORT group, since whoever serves here sleeps?
    soon: Credit,
    /// Whoever is idle may take from here.
    loaded: Atomic<bool>,
    /// Nobody was idle since that is so.
    all_busy: Atomic<bool>,
    /// When somebody who serves here last found that nobody waits elsewhere who goes first: a stamp.
    compared: Atomic<u32>,
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

/// Writes only what changes: others read the line.
#[inline]
fn set(flag: &Atomic<bool>, value: bool) {
    if flag.load(Relaxed) != value {
        flag.store(value, Relaxed);
    }
}

/// The bit of a task among those who serve a slot.
fn bit_of(id: usize) -> usize {
    // What differs in the addresses of a slab's objects.
    1 << ((id / 64) % usize::BITS as usize)
}

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
                process: Atomic::new(0),
                servers: Atomic::new(0),
                accepts: Atomic::new(false),
                proven: Atomic::new(false),
                looked: Atomic::new(false),
                late: Atomic::new(false),
                doubted: Atomic::new(false),
                stalled: Atomic::new(false),
                denied: Atomic::new(false),
                expects: Atomic::new(false),
                wide: Atomic::new(0),
                one_of_several: Atomic::new(false),
            },
            pace: Pace {
                taken: Atomic::new(0),
                seen: Atomic::new(0),
                still: Atomic::new(0),
                age: Age::new(),
                left: Atomic::new(false),
                credit: Credit::new(),
                missed: Atomic::new(false),
                soon: Credit::new(),
                loaded: Atomic::new(false),
                all_busy: Atomic::new(false),
                compared: Atomic::new(0),
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
        sum.get(clock::now(), self.requests.number(young), others)
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

    /// Wakes who serves it; of those who wait exclusively a few, until one is `enough`. Any context.
    #[inline]
    pub(crate) fn wake(&self, enough: Woken) -> Woken {
        self.waiters.wake(self.cpu, enough)
    }

    /// The connections that wait here.
    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Is it to take another connection? If not, why is the socket's own queue? Softirq.
    ///
    /// One that has half of what the program wants to wait leaves the rest to others; one that is stalled
    /// gets nothing.
    #[inline]
    pub(crate) fn admits(&self) -> Result<(), Unfit> {
        if self.duty.stalled.load(Relaxed) && self.is_unattended() {
            return Err(Unfit::Unserved);
        }
        if self.duty.stalled.load(Relaxed) || self.queue.length() > self.socket.backlog() / 2 {
            return Err(Unfit::Overflows);
        }
        Ok(())
    }

    /// Is there something to take? Any context.
    pub(crate) fn has_some(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Somebody who serves it has taken a connection: this one from here, or one of the socket's own queue.
    #[inline]
    pub(crate) fn took(&self, from_here: Option<&Connection>) {
        set(&self.duty.proven, true);
        set(&self.duty.looked, false);
        set(&self.duty.late, false);
        set(&self.duty.stalled, false);
        let Some(connection) = from_here else {
            return;
        };
        self.pace.taken.fetch_add(1, Relaxed);
        let (left, missed) = (self.pace.left.load(Relaxed), self.pace.missed.load(Relaxed));
        if left || missed {
            let long = Stamp::from_us(module_parameters::help_after_us.value());
            let age = connection.age();
            if left {
                self.pace.left.store(false, Relaxed);
                self.pace.credit.waited(age, long);
            }
            if missed {
                self.pace.missed.store(false, Relaxed);
                if age > long {
                    self.pace.soon.withhold();
                }
            }
        }
    }

    /// Somebody else has taken a connection from here.
    pub(crate) fn stolen_from(&self) {
        self.pace.taken.fetch_add(1, Relaxed);
        set(&self.pace.left, false);
        set(&self.pace.missed, false);
    }

    /// Is the current task its consumer?
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        self.consumer_id() == task::current_id()
    }

    /// Is the current task one of those who serve it? `me` is its number, `serves` the CPU that it serves.
    ///
    /// It may be taken for another one that has the same bit, if it serves the CPU for another socket, and never waited
    /// at this one: then it looks at few slots at first ([`is_denied`](Self::is_denied)).
    #[inline]
    pub(crate) fn is_served_by(&self, me: usize, serves: Option<CpuId>) -> bool {
        self.consumer_id() == me
            || (serves == Some(self.cpu) && self.duty.servers.load(Relaxed) & bit_of(me) != 0)
    }

    /// Returns the number of its consumer; that of no task if it had none yet.
    #[inline]
    pub(crate) fn consumer_id(&self) -> usize {
        self.duty.id.load(Relaxed)
    }

    /// Is its consumer a thread of the current process?
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.duty.process.load(Relaxed) == task::current_process()
    }

    /// What does its consumer do? Any context.
    pub(crate) fn consumer_state(&self, guard: &rcu::Guard) -> TaskState {
        let consumer = self.duty.consumer.get(guard);
        consumer.map_or(TaskState::Gone, Pid::task_state)
    }

    /// Is there a consumer that is alive? Any context.
    pub(crate) fn has_consumer(&self) -> bool {
        self.consumer_state(&rcu::Guard::new()) != TaskState::Gone
    }

    /// Is there somebody who will take from it, or will be soon, as far as is known? Any context.
    ///
    /// Who drains connections after a reload, and waits at the socket no more, is nobody.
    pub(crate) fn is_attended(&self) -> bool {
        let waits = || !self.is_unattended() || self.duty.accepts.load(Relaxed);
        let lives = || !self.duty.stalled.load(Relaxed) && self.has_consumer() && waits();
        self.duty.expects.load(Relaxed) || lives()
    }

    /// A task will come. Returns whether it takes the place of one that is gone.
    pub(crate) fn expect(&self) -> bool {
        self.duty.expects.store(true, Relaxed);
        !self.has_consumer()
    }

    /// One of those who serve it is about to wait.
    #[inline]
    pub(crate) fn attend(&self, waits: Waits) {
        set(&self.duty.denied, false);
        set(&self.duty.looked, true);
        let accepts = waits == Waits::Accepting;
        set(&self.duty.accepts, accepts);
        if accepts {
            // It is woken by the next one.
            set(&self.duty.stalled, false);
        }
    }

    /// Does nobody wait at the queue? An answer that may be old. Any context.
    #[inline]
    pub(crate) fn is_unattended(&self) -> bool {
        !self.waiters.is_active()
    }

    /// Whoever serves it was told that there is nothing, and does not wait: it may have been told by somebody else that
    /// there is.
    pub(crate) fn deny(&self) {
        set(&self.duty.denied, true);
    }

    pub(crate) fn is_denied(&self) -> bool {
        self.duty.denied.load(Relaxed)
    }

    /// May whoever is idle take from it? Any context.
    #[inline]
    pub(crate) fn is_loaded(&self) -> bool {
        self.pace.loaded.load(Relaxed)
    }

    /// Says so, or that it is not any more. For the [`Group`](super::group::Group), which has a list of those that are.
    pub(crate) fn set_loaded(&self, loaded: bool) {
        set(&self.pace.loaded, loaded);
        if !loaded {
            set(&self.pace.all_busy, false);
        }
    }

    /// Was everybody busy, when help was called last, since it is loaded? Then everybody will look. Any context.
    pub(crate) fn are_all_busy(&self) -> bool {
        self.pace.all_busy.load(Relaxed)
    }

    pub(crate) fn set_all_busy(&self, busy: bool) {
        set(&self.pace.all_busy, busy);
    }

    /// Was it not longer than so much ago that those who serve it found nothing overdue elsewhere? Then they do not read
    /// again what others write.
    pub(crate) fn has_compared(&self, now: Stamp, much: u32) -> bool {
        Stamp::from(self.pace.compared.load(Relaxed)).is_recent(now, much)
    }

    /// They found nothing.
    pub(crate) fn note_compared(&self, now: Stamp) {
        self.pace.compared.store(now.into(), Relaxed);
    }

    /// Has anybody who serves it ever taken a connection? Any context.
    pub(crate) fn is_proven(&self) -> bool {
        self.duty.proven.load(Relaxed)
    }

    /// Whom does a wake-up have to reach, to be sure that he comes? Any context.
    ///
    /// Where nobody ever took a connection, one who has not either is taken for one who will, until he did not.
    #[inline]
    pub(crate) fn enough(&self) -> Woken {
        if self.is_proven() || self.duty.doubted.load(Relaxed) {
            Woken::Server
        } else {
            Woken::New
        }
    }

    /// Whom a wake-up has reached was `enough`: does he come? Not if the last one did not. Any context.
    #[inline]
    pub(crate) fn trusts(&self, woken: Woken, enough: Woken) -> bool {
        woken >= enough && woken != Woken::Helper && !self.duty.late.load(Relaxed)
    }

    /// Nobody who serves it was asleep: leaves a connection to them, unless others had better be called. Softirq.
    ///
    /// It is theirs if one runs on this CPU who is told of it, and those that were left to them before did not wait for
    /// long. (Who waits at the socket in turn, with a lock, or registered before it listened, is not told.)
    #[inline]
    pub(crate) fn leave(&self, guard: &rcu::Guard) -> bool {
        let leave = self.is_proven()
            && !self.duty.late.load(Relaxed)
            && !self.is_loaded()
            && (!self.is_unattended() || self.duty.accepts.load(Relaxed))
            && self.runs_here(guard)
            && self.pace.credit.allows();
        if leave {
            set(&self.pace.left, true);
        }
        leave
    }

    /// Does one who serves it run on this CPU, which is its own? Softirq.
    #[inline]
    fn runs_here(&self, guard: &rcu::Guard) -> bool {
        // Who was interrupted may serve the CPU for another socket.
        let is_one = || self.duty.servers.load(Relaxed) & bit_of(task::current_id()) != 0;
        (task::is_served_here() && is_one()) || self.consumer_state(guard) == TaskState::Here
    }

    /// Will a connection that comes now be taken soon by who serves it? Softirq.
    ///
    /// Who sleeps may do so in a request. Whether they wait here is known of who looked here last and found nothing; and
    /// if that misleads, it is not asked for a while.
    pub(crate) fn is_soon(&self, guard: &rcu::Guard) -> bool {
        let idle = || {
            !self.has_some()
                && self.duty.looked.load(Relaxed)
                && self.consumer_state(guard) == TaskState::Waiting
                && self.pace.soon.allows()
        };
        (self.pace.credit.is_there() && self.runs_here(guard)) || idle()
    }

    /// Who serves it sleeps elsewhere: how long that takes is seen when they take what has come. Softirq.
    pub(crate) fn nobody_comes(&self) {
        set(&self.pace.missed, true);
    }

    /// Somebody who serves it has looked at it, and found nothing.
    #[inline]
    pub(crate) fn found_nothing(&self) {
        set(&self.duty.looked, true);
        self.narrow();
    }

    /// Is its consumer about to do nothing? An answer that may be old. Any context.
    pub(crate) fn is_idle(&self, guard: &rcu::Guard) -> bool {
        !self.is_unattended()
            && !self.has_some()
            && self.consumer_state(guard) == TaskState::Waiting
    }

    /// Does the consumer have to look at other slots, too?
    #[inline]
    pub(crate) fn is_wide(&self) -> bool {
        let wide = self.duty.wide.load(Relaxed);
        wide != 0 && wide == task::current_id()
    }

    /// The consumer has seen that those were empty. Another may be it by now, who has not.
    #[inline]
    fn narrow(&self) {
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
        set(&self.duty.one_of_several, several);
    }

    /// Makes the current task the consumer. For the group, which has one do it at a time.
    pub(crate) fn enlist(&self, consumer: Unshared<Pid>, waits: Waits) {
        let me = task::current_id();
        // Readers are done with the one before when its reference is dropped.
        self.duty.consumer.set(Some(consumer));
        self.duty.id.store(me, Relaxed);
        self.duty.process.store(task::current_process(), Relaxed);
        self.duty.wide.store(me, Relaxed);
        self.duty.expects.store(false, Relaxed);
        self.duty.stalled.store(false, Relaxed);
        self.duty.doubted.store(false, Relaxed);
        self.join();
        self.attend(waits);
    }

    /// Makes the current task one of those who serve it.
    pub(crate) fn join(&self) {
        let bit = bit_of(task::current_id());
        if self.duty.servers.load(Relaxed) & bit == 0 {
            self.duty.servers.fetch_or(bit, Relaxed);
        }
    }

    /// Shuts the timer down, for ever. Any context but hardirq.
    pub(crate) fn shut_down(&self) {
        self.timer.shut_down();
    }

    /// Nobody is there any more: what waits goes to the socket's own queue, and nothing comes until somebody is.
    /// Returns how many went. Softirq.
    pub(crate) fn abandon(&self) -> u32 {
        self.duty.stalled.store(true, Relaxed);
        self.duty.accepts.store(false, Relaxed);
        let pushed = self.queue.push(&self.socket, PUSHED_AT_ONCE);
        self.socket.wake(pushed);
        pushed
    }

    /// Looks at the queue at a tick, and judges. Softirq.
    pub(crate) fn judge(&self, waits: bool, guard: &rcu::Guard) -> Verdict {
        if !waits {
            self.pace.still.store(0, Relaxed);
            return Verdict {
                call: None,
                push: 0,
            };
        }

        let taken = self.pace.taken.load(Relaxed);
        let ticks = self.pace.age.tick(taken, self.queue.length());
        let call = steal::call_at(ticks);
        if steal::late(ticks) {
            set(&self.duty.late, true);
            set(&self.duty.doubted, true);
            self.pace.credit.nobody_came();
        }
        let still = if self.pace.seen.xchg(taken, Relaxed) == taken {
            self.pace.still.load(Relaxed).saturating_add(1)
        } else {
            0
        };
        self.pace.still.store(still, Relaxed);

        let long = msecs_to_jiffies(PATIENCE_MS) as u32;
        let consumer = self.consumer_state(guard);
        if still < patience(!self.is_unattended(), consumer, long) {
            return Verdict { call, push: 0 };
        }
        self.duty.stalled.store(true, Relaxed);
        if consumer == TaskState::Gone {
            self.duty.accepts.store(false, Relaxed);
        }
        Verdict {
            call,
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
    /// A connection has waited for too long: who is to be called, if anybody.
    pub(crate) call: Option<Called>,
    /// How many connections go to the socket's own queue.
    pub(crate) push: u32,
}

/// Why a slot does not take a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Nobody serves it.
    Unserved,
    /// Whoever serves it does not keep up.
    Overflows,
}

/// For how many ticks a queue that is not empty may stand still before it is given to all, by whether somebody waits at
/// it and what the consumer does. `long` is the answer for those who may come.
fn patience(attended: bool, consumer: TaskState, long: u32) -> u32 {
    match consumer {
        TaskState::Gone if !attended => 0,
        TaskState::Stopped => 0,
        _ => long,
    }
}

#[kernel::macros::kunit_tests(fastsocket_slot)]
mod tests {
    use super::*;

    const LONG: u32 = 25;

    #[test]
    fn a_queue_that_nobody_serves_is_pushed_at_once() {
        assert_eq!(patience(false, TaskState::Gone, LONG), 0);
    }

    #[test]
    fn who_is_stopped_is_not_waited_for() {
        for attended in [false, true] {
            assert_eq!(patience(attended, TaskState::Stopped, LONG), 0);
        }
    }

    /// Others were called before.
    #[test]
    fn who_may_come_gets_long() {
        for attended in [false, true] {
            for state in [TaskState::Waiting, TaskState::Running, TaskState::Here] {
                assert_eq!(patience(attended, state, LONG), LONG);
            }
        }
        // The consumer is dead, and others have what it registered.
        assert_eq!(patience(true, TaskState::Gone, LONG), LONG);
    }
}
