// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! A slot: the accept queue of a socket on one CPU.
//!
//! It has a local listener, that takes SYNs of this CPU, and a wait queue, at which the tasks wait that
//! are bound to this CPU. One of those is its consumer: the task that waited there first since another
//! did. While it is the consumer, it looks at this queue and the socket's own, and at few others: see
//! [`View`](crate::accept::View).
//!
//! So a queue that its consumer forgets would be lost to all. While a slot's queue is not empty, a timer
//! looks after it at each tick: it calls idle consumers to a queue that is slow ([`steal`](crate::steal)),
//! and moves what nobody takes to the socket's own queue, of which every waiter hears ([`patience`]).

use core::sync::atomic::{fence, AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    bindings, container_of,
    cpu::{CpuId, Node as NumaNode},
    prelude::*,
    sync::rcu::{self, RcuBox, RcuCell},
    time::msecs_to_jiffies,
    types::ARef,
};

use crate::{
    ffi::{self, Pid, TaskState},
    group::Group,
    listener::{self, Listener, Local, LocalCell, Locked},
    steal::{self, Age},
    trace,
    wait::{Timer, WaitQueue},
};

/// How many ticks a queue may stand still while its consumer sleeps: it was woken, and may just not have
/// got as far as to look.
const PATIENCE_ASLEEP: u32 = 2;

/// How long a queue may stand still while its consumer is running, in milliseconds. A worker that takes
/// longer over what it does between two looks at its sockets makes others wait, and they may be idle.
const PATIENCE_RUNNING_MS: u32 = 100;

/// Of this many connections that are taken while both have some, one is from the socket's own queue.
const GLOBAL_SHARE: u32 = 4;

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

/// The accept queue of a socket on one CPU.
///
/// Softirqs find it under RCU: by its [`Group`], by the local listener, and by the timer. It is freed
/// with its group, a grace period after the socket was released and its timer was shut down.
#[repr(align(64))]
pub(crate) struct Slot {
    cpu: CpuId,
    node: NumaNode,
    primary: ARef<Listener>,
    next_peer: AtomicPtr<Slot>,
    local: LocalCell,
    queue: WaitQueue,
    consumer: RcuCell<Pid>,
    /// The consumer, as a number.
    consumer_id: AtomicUsize,
    /// The consumer waits in `accept(2)`: that it is not at the wait queue means nothing.
    accepts: AtomicBool,
    /// The consumer let the queue stand: no more SYNs, until it is back.
    stalled: AtomicBool,
    /// An option was set on the socket: no more SYNs, until the local listener has run dry and is
    /// replaced by one that has the option.
    outdated: AtomicBool,
    /// Since when, as RCU counts, no SYN finds it, and whether it was seen dry then.
    since: AtomicUsize,
    seen_dry: AtomicBool,
    /// Who has become the consumer just now, as a number, or 0: slots that nobody serves may hold what
    /// came before.
    wide: AtomicUsize,
    /// The consumer is that of another slot, too: it was moved, and nobody has followed it there.
    one_of_several: AtomicBool,
    /// How many connections were taken, and how many of them by idle consumers of other slots.
    taken: AtomicU32,
    stolen: AtomicU32,
    /// For the timer: how many others had taken when it fired last, and how often in a row it was that
    /// already.
    seen: AtomicU32,
    still: AtomicU32,
    age: Age,
    /// Connections wait for long here: whoever is idle may take them. The timer says so, and is armed
    /// while it is set.
    loaded: AtomicBool,
    timer: Timer,
}

// SAFETY: What changes in it is atomic, or has locks of its own.
unsafe impl Send for Slot {}

// SAFETY: As above.
unsafe impl Sync for Slot {}

impl Slot {
    /// Makes a slot without a local listener. Process context.
    pub(crate) fn new(primary: ARef<Listener>, cpu: CpuId) -> Result<RcuBox<Self>> {
        let slot = RcuBox::new(
            Self {
                cpu,
                node: cpu.node(),
                primary,
                next_peer: AtomicPtr::new(core::ptr::null_mut()),
                local: LocalCell::new(),
                queue: WaitQueue::uninit(),
                consumer: RcuCell::new(None),
                consumer_id: AtomicUsize::new(0),
                accepts: AtomicBool::new(false),
                stalled: AtomicBool::new(false),
                outdated: AtomicBool::new(false),
                since: AtomicUsize::new(0),
                seen_dry: AtomicBool::new(false),
                wide: AtomicUsize::new(0),
                one_of_several: AtomicBool::new(false),
                taken: AtomicU32::new(0),
                stolen: AtomicU32::new(0),
                seen: AtomicU32::new(0),
                still: AtomicU32::new(0),
                age: Age::new(),
                loaded: AtomicBool::new(false),
                timer: Timer::uninit(),
            },
            GFP_KERNEL_ACCOUNT,
        )?;
        // SAFETY: A box of this kind never moves its content, which nobody uses yet.
        unsafe { slot.queue.init() };
        // SAFETY: As above; the timer is shut down before the slot is freed.
        unsafe { slot.timer.init(tick) };
        Ok(slot)
    }

    pub(crate) fn cpu(&self) -> CpuId {
        self.cpu
    }

    pub(crate) fn node(&self) -> NumaNode {
        self.node
    }

    pub(crate) fn primary(&self) -> &Listener {
        &self.primary
    }

    /// The next slot of its chain; for [`Peers`](crate::reuseport::Peers) only.
    pub(crate) fn next_peer(&self) -> &AtomicPtr<Self> {
        &self.next_peer
    }

    pub(crate) fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Returns the local listener that is to take a SYN, or why the socket itself is. Softirq.
    ///
    /// A slot whose queue is as long as the program wants, or that is stalled, spills. One that is only
    /// loaded does not: idle consumers take from it what is there, and if there is none, a place in
    /// the queue of all is no better than one here, but further away.
    #[inline]
    pub(crate) fn for_syn<'g>(&'g self, guard: &'g rcu::Guard) -> Result<&'g Listener, Unfit> {
        if !self.is_served(guard) {
            return Err(Unfit::Unserved);
        }
        if self.stalled.load(Ordering::Relaxed) || self.outdated.load(Ordering::Relaxed) {
            return Err(Unfit::Spills);
        }
        let local = self.local.get(guard).ok_or(Unfit::Unserved)?;
        // What is pushed makes room here, and none for the program: its backlog bounds the socket's own queue.
        if local.is_full() || self.primary.is_full() {
            return Err(Unfit::Spills);
        }
        Ok(local)
    }

    /// Is there anybody who will look at the queue soon? Any context.
    ///
    /// A consumer that is out of `accept(2)` is to come back, but not worth to wait for while another
    /// task has nothing to do.
    #[inline]
    fn is_served(&self, guard: &rcu::Guard) -> bool {
        self.queue.is_active()
            || (self.accepts.load(Ordering::Relaxed) && !self.primary.has_waiter(guard))
    }

    /// A connection was queued. Softirq.
    pub(crate) fn data_ready(&self) {
        self.queue.wake();
        self.timer.arm();
    }

    /// Is there something to take? Any context.
    pub(crate) fn has_some(&self) -> bool {
        let guard = rcu::Guard::new();
        self.local
            .get(&guard)
            .is_some_and(|local| !local.is_empty())
    }

    /// How many connections wait? Any context.
    pub(crate) fn queued(&self, guard: &rcu::Guard) -> u32 {
        self.local.get(guard).map_or(0, Listener::queued)
    }

    /// Returns the local listener, to take a connection from. Process context.
    pub(crate) fn hold(&self) -> Option<ARef<Listener>> {
        let guard = rcu::Guard::new();
        self.local.get(&guard)?.try_hold()
    }

    /// A connection was taken, or one from the socket's own queue in its turn.
    pub(crate) fn took(&self, here: CpuId) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        if here == self.cpu {
            self.attend(None);
        }
    }

    /// A consumer of another slot has taken a connection. That says nothing of how this one is served.
    pub(crate) fn robbed(&self) {
        self.stolen.fetch_add(1, Ordering::Relaxed);
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// Is it the turn of the socket's own queue, if that has something?
    pub(crate) fn yields(&self) -> bool {
        self.taken.load(Ordering::Relaxed) % GLOBAL_SHARE == GLOBAL_SHARE - 1
    }

    /// Is the current task its consumer?
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        self.consumer_id() == ffi::current_id()
    }

    /// Returns the number of its consumer; that of no task if it had none yet.
    #[inline]
    pub(crate) fn consumer_id(&self) -> usize {
        self.consumer_id.load(Ordering::Relaxed)
    }

    /// Is there a consumer that is alive? Any context.
    pub(crate) fn has_consumer(&self) -> bool {
        let guard = rcu::Guard::new();
        let lives = |pid: &Pid| pid.task_state() != TaskState::Gone;
        self.consumer.get(&guard).is_some_and(lives)
    }

    /// Is there a local listener?
    #[inline]
    pub(crate) fn is_filled(&self) -> bool {
        self.local.get(&rcu::Guard::new()).is_some()
    }

    /// The consumer is here, and looks; it may say how it will wait.
    #[inline]
    pub(crate) fn attend(&self, waits: Option<Waits>) {
        if self.stalled.load(Ordering::Relaxed) {
            self.stalled.store(false, Ordering::Relaxed);
        }
        if let Some(waits) = waits {
            let accepts = waits == Waits::Accepting;
            if self.accepts.load(Ordering::Relaxed) != accepts {
                self.accepts.store(accepts, Ordering::Relaxed);
            }
        }
    }

    /// Does nobody wait at the queue? An answer that may be old. Any context.
    pub(crate) fn is_forsaken(&self) -> bool {
        !self.queue.is_active()
    }

    /// May idle consumers of other slots take from it? Any context.
    #[inline]
    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Relaxed)
    }

    /// Says whether it is loaded; for the timer, which is armed while it is.
    fn set_loaded(&self, loaded: bool, group: Option<&Group>) {
        if self.is_loaded() != loaded {
            self.loaded.store(loaded, Ordering::Relaxed);
            if let Some(group) = group {
                group.note_loaded(self.cpu, loaded);
            }
        }
    }

    /// Is its consumer about to do nothing? An answer that may be old. Any context.
    pub(crate) fn is_idle(&self, guard: &rcu::Guard) -> bool {
        let waits = |pid: &Pid| pid.task_state() == TaskState::Waiting;
        self.queue.is_active()
            && !self.stalled.load(Ordering::Relaxed)
            && !self.has_some()
            && self.consumer.get(guard).is_some_and(waits)
    }

    /// Does the consumer have to look at other slots, too?
    #[inline]
    pub(crate) fn is_wide(&self) -> bool {
        self.wide.load(Ordering::Relaxed) == ffi::current_id()
    }

    /// The consumer has seen that those were empty. Another may be it by now, who has not.
    #[inline]
    pub(crate) fn narrow(&self) {
        if self.is_wide() {
            let me = ffi::current_id();
            let _ = self
                .wide
                .compare_exchange(me, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Does the consumer have to look at slots that it served before?
    #[inline]
    pub(crate) fn is_one_of_several(&self) -> bool {
        self.one_of_several.load(Ordering::Relaxed)
    }

    pub(crate) fn set_one_of_several(&self, several: bool, _lock: &Locked<'_>) {
        if self.is_one_of_several() != several {
            self.one_of_several.store(several, Ordering::Relaxed);
        }
    }

    /// Makes the current task the consumer, with a local listener if that can be. Process context.
    ///
    /// # Errors
    ///
    /// Those of [`Local::new`].
    pub(crate) fn enlist(&self, lock: &Locked<'_>, waits: Waits) -> Result {
        self.fill(lock)?;
        let consumer = RcuBox::new(Pid::current(), GFP_KERNEL_ACCOUNT)?;
        // Readers are done with the one before when its reference is dropped.
        drop(self.consumer.swap(Some(consumer)));
        self.consumer_id.store(ffi::current_id(), Ordering::Relaxed);
        self.wide.store(ffi::current_id(), Ordering::Relaxed);
        self.attend(Some(waits));
        Ok(())
    }

    /// Sees to it that there is a local listener. Process context.
    fn fill(&self, lock: &Locked<'_>) -> Result {
        if self.local.get(&rcu::Guard::new()).is_some() {
            return Ok(());
        }
        // SAFETY: By the type's documentation, the slot stays long enough.
        let local = unsafe { Local::new(lock, self, &self.queue) }?;
        self.local.swap(lock, Some(local));
        trace::spawned(lock.socket(), self.cpu);
        Ok(())
    }

    /// `listen(2)` was called on the socket: a local listener has the same backlog, and if the socket did
    /// not listen before, those who still wait are to get one. Process context.
    pub(crate) fn relisten(&self, lock: &Locked<'_>) {
        self.local.update_backlog(lock);
        if self.is_served(&rcu::Guard::new()) {
            // Without one, the socket itself takes all.
            let _ = self.fill(lock);
        }
    }

    /// An option was set on the socket, that the local listener does not have. Process context.
    ///
    /// It is replaced, by [`renew`](Self::renew), when nothing is half open or queued there any more. A
    /// CPU may be about to give it one more SYN, or be between the one and the other with a connection:
    /// a grace period after no SYN finds it, it has to be seen dry, and again another one later.
    pub(crate) fn outdate(&self, _lock: &Locked<'_>) {
        if self.is_filled() {
            self.outdated.store(true, Ordering::Relaxed);
            self.seen_dry.store(false, Ordering::Relaxed);
            self.since.store(ffi::grace_start(), Ordering::Relaxed);
        }
    }

    /// Is it time to [`renew`](Self::renew)? Any context.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
            && ffi::grace_over(self.since.load(Ordering::Relaxed))
            && self
                .local
                .get(&rcu::Guard::new())
                .map_or(true, listener::is_dry)
    }

    /// Goes on with replacing the local listener by one that has all options. Process context.
    pub(crate) fn renew(&self, lock: &Locked<'_>) {
        if !self.is_due() {
            return;
        }
        if !self.seen_dry.swap(true, Ordering::Relaxed) {
            self.since.store(ffi::grace_start(), Ordering::Relaxed);
            return;
        }
        drop(self.local.swap(lock, None));
        self.outdated.store(false, Ordering::Relaxed);
        // Without one, the socket itself takes all.
        let _ = self.fill(lock);
    }

    /// The socket has left `TCP_LISTEN`, and so does the local listener. Process context; does not sleep.
    pub(crate) fn stop(&self, lock: &Locked<'_>) {
        drop(self.local.swap(lock, None));
        self.outdated.store(false, Ordering::Relaxed);
    }

    /// Shuts the timer down, for ever. Process context; sleeps.
    pub(crate) fn shut_down(&self) {
        self.timer.shut_down();
    }

    /// Looks after a queue that is not empty. Softirq.
    fn tick(&self, guard: &rcu::Guard) {
        // Who queues a connection after this look finds the timer to be armed: it no longer is.
        fence(Ordering::SeqCst);
        let group = self.primary.group(guard);
        let Some(local) = self.local.get(guard).filter(|local| !local.is_empty()) else {
            self.still.store(0, Ordering::Relaxed);
            self.set_loaded(false, group);
            return;
        };

        let taken = self.taken.load(Ordering::Relaxed);
        let late = steal::late(self.age.tick(taken, local.queued()));
        self.set_loaded(late, group);
        if let Some(group) = group.filter(|_| late) {
            group.wake_idle(self, guard);
        }

        let served = taken.wrapping_sub(self.stolen.load(Ordering::Relaxed));
        let still = if self.seen.swap(served, Ordering::Relaxed) == served {
            self.still.load(Ordering::Relaxed).saturating_add(1)
        } else {
            0
        };
        self.still.store(still, Ordering::Relaxed);

        let consumer = self
            .consumer
            .get(guard)
            .map_or(TaskState::Gone, Pid::task_state);
        let service = match (self.queue.is_active(), self.is_served(guard)) {
            (true, _) => Service::AtQueue,
            (false, true) => Service::Away,
            (false, false) => Service::None,
        };
        if still
            >= patience(
                service,
                consumer,
                msecs_to_jiffies(PATIENCE_RUNNING_MS) as u32,
            )
        {
            self.stalled.store(true, Ordering::Relaxed);
            if consumer == TaskState::Gone {
                self.accepts.store(false, Ordering::Relaxed);
            }
            let push = || listener::push(local, PUSHED_AT_ONCE);
            let moved = group.map_or_else(push, |group| group.while_pushing(push));
            trace::migrated(&self.primary, self.cpu, moved);
        }
        self.timer.arm();
    }
}

/// Why a slot does not take a SYN.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Nobody serves it.
    Unserved,
    /// Its consumer does not keep up, or it has to be renewed.
    Spills,
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

/// The function of a slot's timer.
///
/// # Safety
///
/// To be called by the timer of a slot only.
unsafe extern "C" fn tick(timer: *mut bindings::timer_list) {
    // SAFETY: The timer is that of a slot, which is not freed before it is shut down.
    let slot = unsafe { &*container_of!(timer, Slot, timer) };
    slot.tick(&rcu::Guard::new());
}

#[cfg(CONFIG_KUNIT)]
mod tests {
    use super::*;
    use kernel::kunit_check_eq;

    const LONG: u32 = 25;
    const ALL: [TaskState; 4] = [
        TaskState::Gone,
        TaskState::Stopped,
        TaskState::Waiting,
        TaskState::Running,
    ];

    fn a_queue_that_nobody_serves_is_pushed_at_once() {
        for consumer in ALL {
            kunit_check_eq!(patience(Service::None, consumer, LONG), 0);
        }
    }

    fn a_consumer_that_cannot_run_is_not_waited_for() {
        for service in [Service::Away, Service::AtQueue] {
            kunit_check_eq!(patience(service, TaskState::Gone, LONG), 0);
            kunit_check_eq!(patience(service, TaskState::Stopped, LONG), 0);
        }
    }

    fn a_sleeper_gets_time_to_wake_up() {
        kunit_check_eq!(
            patience(Service::AtQueue, TaskState::Waiting, LONG),
            PATIENCE_ASLEEP
        );
    }

    fn only_a_busy_consumer_at_its_queue_gets_long() {
        kunit_check_eq!(patience(Service::AtQueue, TaskState::Running, LONG), LONG);
        kunit_check_eq!(
            patience(Service::Away, TaskState::Running, LONG),
            PATIENCE_ASLEEP
        );
    }

    kernel::kunit_tests! { fastsocket_slot: [
        a_queue_that_nobody_serves_is_pushed_at_once,
        a_consumer_that_cannot_run_is_not_waited_for,
        a_sleeper_gets_time_to_wake_up,
        only_a_busy_consumer_at_its_queue_gets_long,
    ] }
}
