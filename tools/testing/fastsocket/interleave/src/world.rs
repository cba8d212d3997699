// SPDX-License-Identifier: GPL-2.0

//! What is around the protocol in the kernel.
//!
//! Each function names the one of the kernel that it stands for, and has its barriers and no more. What is only
//! kept to judge a scene is in `std`'s types, which loom does not see.

use super::{
    prim::{fence, AtomicBool, Ordering},
    protocol::{self, Helped as _, Length, Queue as _, Slot as _, View as _},
};
use loom::sync::{atomic, Condvar, Mutex, MutexGuard};
use std::{
    collections::VecDeque,
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        Arc, Mutex as Note,
    },
};

pub(crate) struct List(VecDeque<u32>);

impl protocol::List for List {
    type Connection = u32;

    fn push(&mut self, connection: u32) {
        self.0.push_back(connection);
    }

    fn pop(&mut self) -> Option<u32> {
        self.0.pop_front()
    }

    fn length(&self) -> u32 {
        self.0.len() as u32
    }

    fn split(&mut self, most: u32) -> Self {
        let number = self.0.len().min(most as usize);
        Self(self.0.drain(..number).collect())
    }
}

/// A `struct task_struct`.
pub(crate) struct Task {
    /// `__state` is `TASK_INTERRUPTIBLE`.
    asleep: atomic::AtomicBool,
    /// `signal_pending()`
    signal: atomic::AtomicBool,
    /// The lock of the CPU's run queue, and that it is on that again.
    run_queue: Mutex<()>,
    runs: Condvar,
}

impl Task {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            asleep: atomic::AtomicBool::new(false),
            signal: atomic::AtomicBool::new(false),
            run_queue: Mutex::new(()),
            runs: Condvar::new(),
        })
    }

    /// `set_current_state(TASK_INTERRUPTIBLE)`
    fn set_asleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// `schedule()`
    fn schedule(&self) {
        let mut run_queue = self.run_queue.lock().unwrap();
        while self.asleep.load(Ordering::Relaxed) {
            run_queue = self.runs.wait(run_queue).unwrap();
        }
    }

    /// `try_to_wake_up()`: did it sleep?
    fn wake(&self) -> bool {
        fence(Ordering::SeqCst);
        let woken = self
            .asleep
            .compare_exchange(true, false, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        if woken {
            drop(self.run_queue.lock().unwrap());
            self.runs.notify_one();
        }
        woken
    }

    /// `send_signal()`
    pub(crate) fn interrupt(&self) {
        self.signal.store(true, Ordering::Relaxed);
        self.wake();
    }
}

struct Waiter {
    task: Arc<Task>,
    exclusive: bool,
}

/// A `struct socket_wq`.
pub(crate) struct WaitQueue {
    waiters: Mutex<VecDeque<Waiter>>,
    /// The list of waiters is not empty, as `waitqueue_active()` sees it.
    active: AtomicBool,
}

impl WaitQueue {
    fn new() -> Self {
        Self {
            waiters: Mutex::new(VecDeque::new()),
            active: AtomicBool::new(false),
        }
    }

    /// Changes the list, under its lock.
    fn change(&self, change: impl FnOnce(&mut VecDeque<Waiter>)) {
        let mut waiters = self.waiters.lock().unwrap();
        let before = waiters.is_empty();
        change(&mut waiters);
        if waiters.is_empty() != before {
            self.active.store(before, Ordering::Relaxed);
        }
    }

    /// `add_wait_queue()`
    fn add(&self, task: &Arc<Task>) {
        let (task, exclusive) = (task.clone(), false);
        self.change(|waiters| waiters.push_front(Waiter { task, exclusive }));
    }

    /// `add_wait_queue_exclusive()`
    fn add_exclusive(&self, task: &Arc<Task>) {
        let (task, exclusive) = (task.clone(), true);
        self.change(|waiters| waiters.push_back(Waiter { task, exclusive }));
    }

    /// `finish_wait()`, `remove_wait_queue()`
    fn remove(&self, task: &Arc<Task>) {
        self.change(|waiters| waiters.retain(|waiter| !Arc::ptr_eq(&waiter.task, task)));
    }

    /// `skwq_has_sleeper()` and `__wake_up()`: all who wait, of those who wait exclusively so many. They are
    /// removed, as by `autoremove_wake_function()`.
    /// Returns how many slept.
    fn wake(&self, mut number: u32) -> u32 {
        let mut slept = 0;
        fence(Ordering::SeqCst);
        if !self.active.load(Ordering::Relaxed) {
            return slept;
        }
        self.change(|waiters| {
            waiters.retain(|waiter| {
                let woken = (!waiter.exclusive || number > 0) && waiter.task.wake();
                slept += u32::from(woken);
                number -= u32::from(woken && waiter.exclusive);
                !(woken && waiter.exclusive)
            });
        });
        slept
    }
}

/// A `struct timer_list`, and the base that fires it.
struct Timer {
    /// `timer_pending()`
    pending: AtomicBool,
    /// Locks the base: was the timer shut down?
    base: Mutex<bool>,
    changed: Condvar,
}

impl Timer {
    fn new() -> Self {
        Self {
            pending: AtomicBool::new(false),
            base: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    /// `Timer::arm` of the kernel's wait.rs, with `mod_timer()`
    fn arm(&self) {
        if !self.pending.load(Ordering::Relaxed) {
            let is_shut_down = self.base.lock().unwrap();
            self.pending.store(!*is_shut_down, Ordering::Relaxed);
            self.changed.notify_one();
        }
    }

    /// `timer_shutdown()`
    fn shut_down(&self) {
        let mut is_shut_down = self.base.lock().unwrap();
        *is_shut_down = true;
        self.pending.store(false, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// `expire_timers()`: waits until it is armed, and then not any more. Returns false if it was shut down.
    fn expires(&self) -> bool {
        let mut is_shut_down = self.base.lock().unwrap();
        while !*is_shut_down && !self.pending.load(Ordering::Relaxed) {
            is_shut_down = self.changed.wait(is_shut_down).unwrap();
        }
        self.pending.store(false, Ordering::Relaxed);
        !*is_shut_down
    }
}

pub(crate) struct Queue {
    list: Mutex<List>,
    length: Length,
}

impl Queue {
    fn new() -> Self {
        Self {
            list: Mutex::new(List(VecDeque::new())),
            length: Length::new(),
        }
    }
}

impl protocol::Queue for Queue {
    type Socket = Socket;
    type Locked<'a> = MutexGuard<'a, List>;

    fn lock(&self) -> Self::Locked<'_> {
        self.list.lock().unwrap()
    }

    fn published(&self) -> &Length {
        &self.length
    }
}

/// A `struct sock`.
pub(crate) struct Socket {
    /// `sk_state` is `TCP_LISTEN`.
    listens: atomic::AtomicBool,
    /// By `rskq_lock`.
    list: Mutex<VecDeque<u32>>,
    /// `rskq_accept_head` is set.
    some: AtomicBool,
    waiters: WaitQueue,
}

impl protocol::Socket for Socket {
    type List = List;

    fn is_listening(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }

    /// `fastsocket_requeue()`
    fn append(&self, list: List) {
        self.change(|own| own.extend(list.0));
    }

    /// `fastsocket_rewake()`
    fn wake(&self, number: u32) {
        if number > 0 {
            self.waiters.wake(number);
        }
    }
}

impl Socket {
    /// Changes its own queue, under its lock.
    fn change<R>(&self, change: impl FnOnce(&mut VecDeque<u32>) -> R) -> R {
        let mut own = self.list.lock().unwrap();
        let before = own.is_empty();
        let res = change(&mut own);
        if own.is_empty() != before {
            self.some.store(before, Ordering::Relaxed);
        }
        res
    }

    fn is_empty(&self) -> bool {
        !self.some.load(Ordering::Relaxed)
    }

    /// `reqsk_queue_remove()`
    fn take(&self) -> Option<u32> {
        self.change(VecDeque::pop_front)
    }
}

/// What the timers of a scene judge.
#[derive(Clone, Copy, Default)]
pub(crate) struct Judge {
    /// Idle consumers are woken to steal.
    pub(crate) late: bool,
    /// For how many ticks a queue may stand.
    pub(crate) patience: usize,
    /// How many connections are pushed at a tick.
    pub(crate) most: u32,
}

pub(crate) struct Slot {
    queue: Queue,
    socket: Arc<Socket>,
    waiters: WaitQueue,
    loaded: atomic::AtomicBool,
    timer: Timer,
    still: AtomicUsize,
}

impl protocol::Slot for Slot {
    type Queue = Queue;

    fn queue(&self) -> &Queue {
        &self.queue
    }

    fn socket(&self) -> &Socket {
        &self.socket
    }

    fn arm(&self) {
        self.timer.arm();
    }
}

/// `Call` of the kernel's help.rs.
struct Call<'a> {
    world: &'a World,
    slot: &'a Slot,
}

impl protocol::Helped for Call<'_> {
    type Queue = Queue;

    fn queue(&self) -> &Queue {
        &self.slot.queue
    }

    fn set_loaded(&self, loaded: bool) {
        self.slot.loaded.store(loaded, Ordering::Relaxed);
    }

    /// Who seems to be idle, which is looked at without a barrier, is woken.
    fn wake_one(&self) {
        let others = self.world.slots.iter();
        let others = others.filter(|other| !std::ptr::eq(*other, self.slot));
        let idle = |other: &&Slot| other.waiters.active.load(Ordering::Relaxed);
        let _ = others.filter(idle).find(|other| other.waiters.wake(1) > 0);
    }
}

/// A spawned socket, its slots, and the tasks that know of it.
pub(crate) struct World {
    pub(crate) socket: Arc<Socket>,
    slots: Vec<Slot>,
    pub(crate) tasks: Vec<Arc<Task>>,
    judge: Judge,
    /// How many tasks have something to do.
    busy: AtomicUsize,
    /// What came to its end: accepted, refused, or ended with the socket.
    ended: Note<Vec<u32>>,
}

impl World {
    pub(crate) fn new(slots: usize, tasks: usize, judge: Judge) -> Arc<Self> {
        let socket = Arc::new(Socket {
            listens: atomic::AtomicBool::new(true),
            list: Mutex::new(VecDeque::new()),
            some: AtomicBool::new(false),
            waiters: WaitQueue::new(),
        });
        let slot = |_| Slot {
            queue: Queue::new(),
            socket: socket.clone(),
            waiters: WaitQueue::new(),
            loaded: atomic::AtomicBool::new(false),
            timer: Timer::new(),
            still: AtomicUsize::new(0),
        };
        Arc::new(Self {
            slots: (0..slots).map(slot).collect(),
            socket,
            tasks: (0..tasks).map(|_| Task::new()).collect(),
            judge,
            busy: AtomicUsize::new(tasks),
            ended: Note::new(Vec::new()),
        })
    }

    fn end(&self, connection: u32) {
        self.ended.lock().unwrap().push(connection);
    }

    /// A softirq: a connection for a slot, of which nobody is told.
    pub(crate) fn arrives_silently(&self, slot: usize, connection: u32) {
        let slot = &self.slots[slot];
        match slot.queue.arrive(&self.socket, connection, |_| ()) {
            Ok(()) => slot.look_after(),
            Err(connection) => self.end(connection),
        }
    }

    /// A softirq: a connection for a slot.
    pub(crate) fn arrives(&self, slot: usize, connection: u32) {
        self.arrives_silently(slot, connection);
        self.slots[slot].waiters.wake(1);
    }

    /// A softirq: a connection for a slot; help is called if nobody who serves it slept.
    pub(crate) fn arrives_and_calls(&self, number: usize, connection: u32) {
        let slot = &self.slots[number];
        self.arrives_silently(number, connection);
        if slot.waiters.wake(1) == 0 {
            self.call(slot).call();
        }
    }

    fn call<'a>(&'a self, slot: &'a Slot) -> Call<'a> {
        Call { world: self, slot }
    }

    /// A softirq: a connection for the socket's own queue, as `inet_csk_reqsk_queue_add()` has it.
    pub(crate) fn overflows(&self, connection: u32) {
        self.socket.change(|own| own.push_back(connection));
        self.socket.waiters.wake(1);
    }

    /// The timer of a slot, for as long as a task has something to do.
    pub(crate) fn runs_timer(&self, slot: usize) {
        while self.slots[slot].timer.expires() {
            self.ticks(slot);
        }
    }

    pub(crate) fn ticks(&self, number: usize) {
        let slot = &self.slots[number];
        slot.tick(|waits| self.judges(number, waits));
    }

    fn judges(&self, number: usize, waits: bool) -> u32 {
        let slot = &self.slots[number];
        if !waits {
            slot.still.store(0, Relaxed);
            slot.loaded.store(false, Ordering::Relaxed);
            return 0;
        }
        if self.judge.late {
            slot.loaded.store(true, Ordering::Relaxed);
            for (_, idle) in self.slots.iter().enumerate().filter(|(n, _)| *n != number) {
                idle.waiters.wake(1);
            }
        }
        let still = slot.still.fetch_add(1, Relaxed);
        if still < self.judge.patience {
            0
        } else {
            self.judge.most
        }
    }

    /// `tcp_set_state()`, `inet_csk_listen_stop()`, `sk_state_change()`
    pub(crate) fn stops(&self) {
        self.socket.listens.store(false, Ordering::Release);
        protocol::stop(self.slots.iter().map(|slot| &slot.queue), &self.socket);
        while let Some(connection) = self.socket.take() {
            self.end(connection);
        }
        self.socket.waiters.wake(u32::MAX);
    }

    pub(crate) fn shuts_down(&self) {
        self.slots.iter().for_each(|slot| slot.timer.shut_down());
    }

    /// What a task sees that serves a slot, or none.
    pub(crate) fn view(&self, task: usize, serves: Option<usize>) -> View<'_> {
        View {
            world: self,
            task: &self.tasks[task],
            own: serves.map(|slot| &self.slots[slot]),
        }
    }

    /// A task in `accept(2)`, so many times.
    pub(crate) fn accepts(&self, task: usize, serves: Option<usize>, times: usize) {
        for connection in (0..times).map_while(|_| self.accepts_one(task, serves)) {
            self.end(connection);
        }
        self.leaves();
    }

    /// A task in `accept(2)` once: what it takes, unless it is interrupted.
    pub(crate) fn accepts_one(&self, task: usize, serves: Option<usize>) -> Option<u32> {
        let view = self.view(task, serves);
        view.accept(true, || view.wait()).ok().flatten()
    }

    /// A task that polls, and accepts without waiting, until it has so many connections.
    pub(crate) fn polls(&self, task: usize, serves: Option<usize>, mut times: usize) {
        let view = self.view(task, serves);
        view.register();
        while times > 0 {
            view.poll();
            if let Ok(Some(connection)) = view.accept(false, || Err(Interrupted)) {
                self.end(connection);
                times -= 1;
            }
        }
        view.unregister();
        self.leaves();
    }

    /// A task has what it wants; timers are not needed after the last of them.
    fn leaves(&self) {
        if self.busy.fetch_sub(1, Relaxed) == 1 {
            self.shuts_down();
        }
    }

    /// Each of so many connections came to its end, once, and none is left.
    pub(crate) fn has_ended(&self, connections: u32) {
        for slot in &self.slots {
            assert!(slot.queue.is_empty(), "stranded at a slot");
            assert_eq!(slot.queue.lock().0.len(), 0, "stranded at a slot");
        }
        assert!(self.socket.take().is_none(), "stranded at the socket");
        let mut ended = self.ended.lock().unwrap().clone();
        ended.sort_unstable();
        assert!(ended.iter().copied().eq(0..connections), "ended: {ended:?}");
    }
}

/// Why a task does not wait any more.
#[derive(Debug)]
pub(crate) struct Interrupted;

/// `View` of the kernel's accept.rs.
pub(crate) struct View<'a> {
    world: &'a World,
    task: &'a Arc<Task>,
    own: Option<&'a Slot>,
}

impl<'a> View<'a> {
    /// Who serves a slot looks at those that are loaded, anybody else at all.
    fn others(&self) -> impl Iterator<Item = &'a Slot> + use<'a> {
        let own = self.own;
        let is_own = move |slot: &&Slot| own.is_some_and(|own| std::ptr::eq(*slot, own));
        let slots = self.world.slots.iter().filter(move |slot| !is_own(slot));
        slots.filter(move |slot| own.is_none() || slot.loaded.load(Ordering::Relaxed))
    }

    /// `fastsocket_wait()`
    fn wait(&self) -> Result<(), Interrupted> {
        let socket = &self.world.socket;
        if let Some(own) = self.own {
            own.waiters.add_exclusive(self.task);
        }
        socket.waiters.add_exclusive(self.task);
        self.task.set_asleep();
        let ready = self.has_some();
        let mut res = Ok(());
        if !ready {
            let ends = !protocol::Socket::is_listening(&**socket);
            if ends || self.task.signal.load(Ordering::Relaxed) {
                res = Err(Interrupted);
            } else {
                self.task.schedule();
            }
        }
        self.task.asleep.store(false, Ordering::Relaxed);
        socket.waiters.remove(self.task);
        if let Some(own) = self.own {
            own.waiters.remove(self.task);
        }
        res
    }

    /// `poll_wait()`, at the slot first.
    fn register(&self) {
        if let Some(own) = self.own {
            own.waiters.add(self.task);
        }
        self.world.socket.waiters.add(self.task);
    }

    fn unregister(&self) {
        self.world.socket.waiters.remove(self.task);
        if let Some(own) = self.own {
            own.waiters.remove(self.task);
        }
    }

    /// `do_poll()`, of a task that has registered: returns when there was something.
    fn poll(&self) {
        loop {
            self.task.set_asleep();
            if self.has_some() {
                break;
            }
            self.task.schedule();
        }
        self.task.asleep.store(false, Ordering::Relaxed);
    }
}

impl protocol::View for View<'_> {
    type Connection = u32;

    fn is_turn_of_own(&self) -> bool {
        false
    }

    fn take_own(&self) -> Option<u32> {
        if self.world.socket.is_empty() {
            return None;
        }
        self.world.socket.take()
    }

    /// How long they have waited is not known here: any may have for long.
    fn take_overdue(&self) -> Option<u32> {
        self.own?;
        self.take_others()
    }

    fn take_near(&self) -> Option<u32> {
        self.own?.queue.take()
    }

    fn take_others(&self) -> Option<u32> {
        self.others().find_map(|slot| {
            let taken = slot.queue.take();
            if slot.loaded.load(Ordering::Relaxed) && slot.queue.is_empty() && taken.is_some() {
                self.world.call(slot).calm();
            }
            taken
        })
    }

    fn slots_have_some(&self) -> bool {
        let has_some = |slot: &Slot| !slot.queue.is_empty();
        self.own.is_some_and(has_some) || self.others().any(has_some)
    }

    fn own_has_some(&self) -> bool {
        !self.world.socket.is_empty()
    }

    fn found_nothing(&self) {}

    fn pass_wakes_on(&self) {
        if !self.world.socket.is_empty() {
            self.world.socket.waiters.wake(1);
        }
        if let Some(own) = self.own.filter(|own| !own.queue.is_empty()) {
            own.waiters.wake(1);
        }
    }
}
