// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! A group: a spawned socket and its slots.
//!
//! A slot is made when a task first serves its CPU, and stays as long as the group, which is released
//! with the socket: pollers keep pointers to its wait queue.

use core::ptr::{self, NonNull};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    bindings,
    cpu::{self, CpuId},
    new_spinlock,
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
    sync::{
        rcu::{self, Unshared},
        Arc, SpinLock,
    },
    types::{ARef, Opaque},
};

use super::{
    choice::Choice,
    help::Help,
    limit,
    listener::Listener,
    protocol::{self, Queue as _, Slot as _},
    queue::Connection,
    reuseport::Peers,
    slot::{Slot, Unfit, Waits},
    slots::Slots,
    stamp::Stamp,
    trace,
};
use crate::{
    bind,
    core::stats::{Counter, Stats},
    module_parameters,
    placement::{
        self,
        task::{self, Pid},
        Mode,
    },
};

/// How many connections may wait for a member of an SO_REUSEPORT group because it is served on this CPU, though fewer
/// wait for the one that a hash chose.
const MAY_QUEUE: u32 = 1;

/// A spawned socket.
///
/// # Invariants
///
/// `head.slot` is that of `slots`.
#[pin_data]
#[repr(C)]
pub(crate) struct Group {
    /// What C knows it by.
    head: Opaque<bindings::fastsocket_slots>,
    slots: Slots,
    socket: ARef<Listener>,
    choice: Choice,
    /// Who takes from it alone, as a number, while it is plain.
    only: Atomic<usize>,
    /// How many slots there are.
    number: Atomic<u32>,
    /// How many slots have references, and one for the socket until it is destroyed.
    live: Atomic<u32>,
    /// One task at a time becomes a consumer.
    #[pin]
    enlisting: SpinLock<()>,
    help: Help,
    /// What it shares with the other members of its SO_REUSEPORT group.
    peers: Option<Arc<Peers>>,
    /// How many connections were taken from the socket's own queue, and how many had been when a wake-up
    /// for it was last passed on.
    taken: Atomic<u32>,
    passed: Atomic<u32>,
}

// SAFETY: What `head` points to is owned by it, and all that changes is atomic or has a lock.
unsafe impl Send for Group {}

// SAFETY: As above.
unsafe impl Sync for Group {}

// SAFETY: As for [`Pid`]: its slots are dropped with it.
unsafe impl rcu::Retire for Group {}

impl Group {
    /// Makes the group of a socket. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(socket: ARef<Listener>, peers: Option<Arc<Peers>>) -> Result<Unshared<Self>> {
        let mut slots = Slots::new()?;
        let group = try_pin_init!(Self {
            // A task that has a socket to itself serves those of others as well, where they share a port.
            head: Opaque::new(slots.head(peers.is_none())),
            slots,
            socket,
            choice: Choice::new()?,
            only: Atomic::new(0),
            number: Atomic::new(0),
            live: Atomic::new(1),
            enlisting <- new_spinlock!((), "fastsocket::enlisting"),
            help: Help::new()?,
            peers,
            taken: Atomic::new(0),
            passed: Atomic::new(u32::MAX),
        }? Error);
        Unshared::try_pin_init(group, GFP_KERNEL_ACCOUNT)
    }

    /// Returns the group of a socket, if it is spawned. Any context.
    pub(crate) fn of<'g>(socket: &'g Listener, _guard: &'g rcu::Guard) -> Option<&'g Self> {
        // SAFETY: What is attached is a group, which is freed an RCU grace period after it was detached.
        unsafe { Self::from_raw(socket.slots()).as_ref() }
    }

    /// Returns that of another spawned socket of a socket's SO_REUSEPORT group. Any context.
    pub(crate) fn of_sibling<'g>(socket: &Listener, guard: &'g rcu::Guard) -> Option<&'g Self> {
        // SAFETY: As above.
        unsafe { Self::from_raw(socket.sibling_slots(guard)).as_ref() }
    }

    /// Returns the group that C knows as this. What C has as one is the first part of a group.
    pub(crate) fn from_raw(slots: *mut bindings::fastsocket_slots) -> *mut Self {
        slots.cast()
    }

    /// The socket that the program has.
    pub(crate) fn socket(&self) -> &Listener {
        &self.socket
    }

    /// What it shares with the other members of its SO_REUSEPORT group, if it is in one.
    pub(crate) fn peers(&self) -> Option<&Arc<Peers>> {
        self.peers.as_ref()
    }

    /// Returns the slot of a CPU, if a task ever served it.
    pub(crate) fn slot(&self, cpu: CpuId) -> Option<&Slot> {
        self.slots.of(cpu)
    }

    /// Returns all slots.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// Returns all slots, those of a NUMA node first.
    pub(crate) fn slots_near(&self, node: cpu::Node) -> impl Iterator<Item = &Slot> {
        [true, false].into_iter().flat_map(move |near| {
            self.slots()
                .filter(move |slot| (slot.node() == node) == near)
        })
    }

    /// Returns the slots that others may take from, those of a NUMA node first. Any context.
    #[inline]
    pub(crate) fn loaded_near(&self, node: cpu::Node) -> impl Iterator<Item = &Slot> {
        self.help.loaded_near(&self.slots, node)
    }

    /// Is there no slot that others may take from? Any context.
    #[inline]
    pub(crate) fn none_is_loaded(&self) -> bool {
        self.help.none_is_loaded()
    }

    /// Returns the loaded slot, of a few, where one waits that goes before those of the slot `own`, which whoever serves
    /// it looks for now and then. Process context.
    #[inline]
    pub(crate) fn overdue(&self, own: &Slot) -> Option<&Slot> {
        if self.none_is_loaded() {
            return None;
        }
        let much = Stamp::from_us(module_parameters::help_after_us.value());
        let now = Stamp::now();
        let oldest = own.queue().oldest();
        if oldest.is_some() && own.has_compared(now, much) {
            return None;
        }
        let since = oldest.or_else(|| self.socket.oldest()).unwrap_or(now);
        let much = much.saturating_add(since.age_at(now) / 16);
        let overdue = self.help.overdue(&self.slots, own.cpu(), since, much);
        if overdue.is_none() {
            own.note_compared(now);
        }
        overdue
    }

    /// A connection was queued at a slot: wakes who is to take it. Softirq, or process context with BHs off.
    pub(crate) fn announce(&self, slot: &Slot, guard: &rcu::Guard) {
        self.help.announce(&self.slots, slot, guard);
    }

    /// The last connection was taken from a slot that was loaded. Any context.
    #[inline]
    pub(crate) fn calm(&self, slot: &Slot) {
        self.help.calm(&self.slots, slot);
    }

    /// Somebody has taken a connection.
    #[inline]
    pub(crate) fn note_taken(&self) {
        self.help.note_taken();
    }

    /// Somebody who serves `own` has taken a connection from elsewhere: what waits there, and was left to them, is not
    /// taken soon. Process context.
    pub(crate) fn call_for(&self, own: Option<&Slot>) {
        if let Some(own) = own.filter(|own| own.has_some()) {
            self.help.call(&self.slots, own, false, &rcu::Guard::new());
        }
    }

    /// Somebody has taken a connection of their own, and may have been woken to help: wakes another. Process context.
    #[inline]
    pub(crate) fn pass_call_on(&self) {
        if self.help.take_call() {
            self.help.pass_on(&self.slots);
        }
    }

    /// Somebody who was woken to help has done something else: wakes others. Process context.
    pub(crate) fn pass_help_on(&self) {
        self.help.pass_on(&self.slots);
    }

    /// A connection was taken from the socket's own queue.
    pub(crate) fn took_global(&self) {
        self.taken.fetch_add(1, Relaxed);
    }

    /// A connection was taken from elsewhere: if one waits in the socket's own queue, the wake-up for that
    /// may have been for this task. Wakes another, once for each that waits there first. Process context.
    pub(crate) fn pass_wake_on(&self) {
        if self.socket.is_empty() {
            return;
        }
        let taken = self.taken.load(Relaxed);
        if self.passed.load(Relaxed) != taken {
            self.passed.store(taken, Relaxed);
            self.socket.pass_wake_on();
        }
    }

    /// Returns the slot that the current task serves. Process context.
    #[inline]
    pub(crate) fn own_slot(&self) -> Option<&Slot> {
        let me = task::current_id();
        // Mostly it runs where it serves, and served nowhere else before.
        let here = self.slot(CpuId::current());
        let here = here.filter(|slot| slot.consumer_id() == me && !slot.is_one_of_several());
        here.or_else(|| {
            let serves = task::served_cpu()?;
            self.slot(serves)
                .filter(|slot| slot.is_served_by(me, Some(serves)))
        })
    }

    /// The current task waits at the socket: returns the slot that it is to wait at too, if any.
    ///
    /// Process context; sleeps.
    pub(crate) fn enlist(&self, waits: Waits) -> Option<&Slot> {
        if let Some(slot) = self.own_slot().filter(|slot| Self::serves(slot)) {
            if self.is_shared_now() {
                let _one = self.enlisting.lock();
                self.is_taken_from();
            }
            slot.attend(waits);
            return Some(slot);
        }
        // One of several that serve the CPU: another was here last, and is to be found.
        let shared = task::served_cpu().and_then(|cpu| self.slot(cpu));
        if let Some(slot) = shared.filter(|slot| slot.has_consumer()) {
            let _one = self.enlisting.lock();
            self.is_taken_from();
            slot.join();
            slot.attend(waits);
            return Some(slot);
        }
        // What goes wrong leaves the task with the socket's own queue, where nothing is lost.
        self.enlist_on(None, waits).ok().flatten()
    }

    /// Does the current task serve the CPU of its slot? Who has executed another program has to say so again.
    fn serves(slot: &Slot) -> bool {
        let again = || placement::consumers().is_ok_and(|all| all.follow(slot.cpu()));
        task::serves_any() || again()
    }

    /// Does another task than the one that it is plain for take from it?
    fn is_shared_now(&self) -> bool {
        // SAFETY: The pointer is valid, and what it points to is changed atomically.
        let plain = unsafe { Atomic::from_ptr(ptr::addr_of_mut!((*self.head.get()).plain)) };
        plain.load(Relaxed) && self.only.load(Relaxed) != task::current_id()
    }

    /// The current task is about to take from it. If another one does, too, it is not plain any more. One says so at a
    /// time, and is a slot's when the next one does.
    fn is_taken_from(&self) {
        if !self.is_shared_now() {
            return;
        }
        let me = task::current_id();
        // SAFETY: The pointer is valid, and what it points to is changed atomically.
        let plain = unsafe { Atomic::from_ptr(ptr::addr_of_mut!((*self.head.get()).plain)) };
        let only = self.only.load(Relaxed);
        // What it registered may be somebody else's by now.
        let lives = self.slots().any(|slot| {
            slot.consumer_id() == only && (slot.has_consumer() || !slot.is_unattended())
        });
        if !lives {
            self.only.store(me, Relaxed);
            return;
        }
        if plain.xchg(false, Relaxed) {
            let (net, guard) = (self.socket.net(), rcu::Guard::new());
            Stats::count(net, CpuId::current(), Counter::Shared, &guard);
        }
    }

    /// The current task, which serves no CPU, has taken a connection from a slot: it serves that from now on, and is
    /// its consumer if that one has not shown that it comes.
    pub(crate) fn follow(&self, slot: &Slot) {
        if task::serves_any() || !placement::consumers().is_ok_and(|all| all.follow(slot.cpu())) {
            return;
        }
        slot.join();
        if slot.is_proven() {
            return;
        }
        if let Ok(consumer) = Unshared::new(Pid::current(), GFP_KERNEL_ACCOUNT) {
            self.set_consumer(slot, consumer, Waits::Registered);
        }
    }

    fn set_consumer(&self, slot: &Slot, consumer: Unshared<Pid>, waits: Waits) {
        let _one = self.enlisting.lock();
        self.is_taken_from();
        let before = slot.consumer_id();
        slot.enlist(consumer, waits);
        self.note_several(before);
        self.note_several(slot.consumer_id());
    }

    /// Makes the current task the consumer of a slot: of the CPU that it asks for, or any.
    ///
    /// Process context; sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the CPU is not to be had, `EOPNOTSUPP`, `ENOMEM`, or why the task cannot be bound.
    pub(crate) fn enlist_on(&self, wanted: Option<CpuId>, waits: Waits) -> Result<Option<&Slot>> {
        let mode = Mode::get();
        let free = mode == Mode::Bound && wanted.is_none() && task::bound_cpu().is_none();
        if mode == Mode::Off || free || !task::is_program() {
            return Ok(None);
        }
        if !self.socket.is_listening() {
            return Ok(None);
        }
        // Whatever fails, fails before others see that a CPU was chosen.
        let consumer = Unshared::new(Pid::current(), GFP_KERNEL_ACCOUNT)?;
        let service = |cpu| self.choice.service(cpu, self.slot(cpu));
        let chosen = |cpu| self.choice.note_chosen(cpu, self.slot(cpu));
        let placed = placement::consumers()?.place(mode, wanted, service, chosen)?;
        let Some(cpu) = placed else {
            return Ok(None);
        };
        let slot = match self.slot(cpu) {
            Some(slot) => slot,
            None => self.add(cpu)?,
        };
        self.set_consumer(slot, consumer, waits);
        Ok(Some(slot))
    }

    /// A task has become the consumer of one more or one less slot: notes at its slots whether they are
    /// several. It goes on looking at those that it was moved away from until somebody else serves them.
    fn note_several(&self, consumer: usize) {
        let its = || self.slots().filter(|slot| slot.consumer_id() == consumer);
        let several = its().nth(1).is_some();
        its().for_each(|slot| slot.set_one_of_several(several));
    }

    /// Makes the slot of a CPU, unless another task has meanwhile, or the socket does not listen. Process
    /// context.
    fn add(&self, cpu: CpuId) -> Result<&Slot> {
        // SAFETY: It is what a slot's timer is to call.
        let slot = unsafe { Slot::new(self.socket.clone(), cpu, tick) }?;

        // The socket is open, and counted: this is not the last.
        self.live.fetch_add(1, Relaxed);
        let added = {
            // Who stops the socket takes it once, and then finds all slots that connections can be put into.
            let _one = self.enlisting.lock();
            if self.socket.is_listening() {
                self.slots.add(slot)
            } else {
                None
            }
        };
        match added {
            None => {
                self.live.fetch_sub(1, Relaxed);
            }
            Some(slot) => {
                self.number.fetch_add(1, Relaxed);
                trace::spawned(&self.socket, cpu);
                // SAFETY: It is spawned, and kept by this. Without, its children are bound as ever.
                let _ = unsafe { bind::shard(self.socket.as_ptr()) };
                if let Some(peers) = &self.peers {
                    // SAFETY: It was just made; `destroy` removes it, and it is freed a grace period later.
                    unsafe { peers.insert(slot) };
                }
            }
        }
        self.slot(cpu).ok_or(EINVAL)
    }

    /// Puts a connection into the slot of the CPU that received its last packet, or gives it back: then it
    /// goes to the socket's own queue. Softirq, or process context with BHs off.
    ///
    /// # Safety
    ///
    /// As [`Queue::add`](super::queue::Queue::add).
    pub(crate) unsafe fn admit(
        &self,
        cpu: Option<CpuId>,
        connection: Connection,
        child: NonNull<bindings::sock>,
        guard: &rcu::Guard,
    ) -> Result<(), Connection> {
        let here = CpuId::current();
        if let Some(slot) = self.slot(here) {
            slot.room().used();
        }
        // SAFETY: By the safety requirements.
        unsafe { Connection::stamp(child) };
        let Some(cpu) = cpu else {
            return Err(connection);
        };
        let Some(slot) = self.slot(cpu) else {
            self.choice.note_receives(cpu);
            return Err(connection);
        };
        let count = |counter| Stats::count(self.socket.net(), here, counter, guard);
        if let Err(why) = slot.admits() {
            count(Counter::LookupGlobal);
            if why == Unfit::Overflows {
                trace::overflowed(&self.socket, slot.cpu());
            }
            return Err(connection);
        }
        // SAFETY: By the safety requirements.
        let sharded = unsafe { bind::is_sharded(child.as_ptr()) };
        // SAFETY: By the safety requirements.
        unsafe {
            slot.queue()
                .add(&self.socket, slot.cpu(), connection, child)
        }?;
        slot.look_after();
        count(Counter::LookupLocal);
        if sharded {
            count(Counter::BoundLocal);
        }
        Ok(())
    }

    /// Returns the member of its SO_REUSEPORT group that is to take a segment that a hash has for this one,
    /// if it is another. Any context, under RCU.
    pub(crate) fn select<'g>(&'g self, cpu: CpuId, guard: &'g rcu::Guard) -> Option<&'g Listener> {
        let peers = self.peers()?;
        if self
            .slot(cpu)
            .is_some_and(|slot| slot.admits().is_ok() && !slot.is_loaded())
        {
            return None;
        }
        let other = peers.find(cpu, &self.socket, guard)?;
        // Where all packets arrive on one CPU, one worker does not serve all of them.
        let queued = other.queue().length();
        if queued > MAY_QUEUE && queued > self.waiting() {
            return None;
        }
        Stats::count(self.socket.net(), cpu, Counter::LookupPeer, guard);
        Some(other.socket())
    }

    /// How many requests count at its slots, or of those, how many are young? Any context.
    ///
    /// A CPU that has not more than its share of what the program wants to wait does not look at what others
    /// have: so all together have twice that at most.
    pub(crate) fn requests(&self, young: bool) -> i32 {
        let here = self.slot(CpuId::current());
        if let Some(here) = here {
            let own = here.requests().number(young);
            if limit::is_share(own, self.number.load(Relaxed), self.socket.backlog()) {
                return own;
            }
        }
        let others = || {
            self.slots()
                .filter(|slot| !here.is_some_and(|here| ptr::eq(*slot, here)))
                .map(|slot| slot.requests().number(young))
                .fold(0, i32::saturating_add)
        };
        match here {
            Some(here) => here.all_requests(young, others),
            None => others(),
        }
    }

    /// How many connections wait at its slots? Any context.
    pub(crate) fn queued(&self) -> u32 {
        let lengths = self.slots().map(|slot| slot.queue().length());
        lengths.fold(0, u32::saturating_add)
    }

    /// How many connections wait to be accepted? Any context.
    fn waiting(&self) -> u32 {
        self.socket.queued().saturating_add(self.queued())
    }

    /// Do as many connections wait as the program wants? Softirq.
    pub(crate) fn is_full(&self) -> bool {
        let most = self.socket.backlog();
        let waiting = || self.waiting();
        match self.slot(CpuId::current()) {
            Some(here) => {
                let sharers = self.number.load(Relaxed).saturating_add(1);
                here.room().is_full(most, waiting, sharers)
            }
            None => waiting() > most,
        }
    }

    /// The socket has left `TCP_LISTEN`: what waits at its slots goes to its own queue, which is emptied
    /// next. Process context; does not sleep.
    pub(crate) fn stop(&self) {
        // No slot is added after this.
        drop(self.enlisting.lock());
        protocol::stop(self.slots().map(Slot::queue), &self.socket);
    }

    /// The socket is closed for good. Returns whether nothing uses the group any more. Any context but
    /// hardirq.
    ///
    /// # Safety
    ///
    /// To be called once, with what is attached to a socket.
    pub(crate) unsafe fn destroy(group: NonNull<Self>) -> bool {
        // SAFETY: It lives, by the count that is given up at last.
        let this = unsafe { group.as_ref() };
        for slot in this.slots() {
            if let Some(peers) = &this.peers {
                peers.remove(slot);
            }
            slot.shut_down();
            // SAFETY: By the safety requirements.
            if unsafe { slot.requests().put() } {
                this.live.fetch_sub(1, Full);
            }
        }
        // SAFETY: It was the socket's.
        unsafe { Self::unuse(group) }
    }

    /// Something that was counted by `live` has gone. Returns whether it was the last. Any context but
    /// hardirq.
    ///
    /// # Safety
    ///
    /// It must have been counted, and `group` not be used afterwards if this returns true.
    pub(crate) unsafe fn unuse(group: NonNull<Self>) -> bool {
        // SAFETY: By the safety requirements.
        let this = unsafe { group.as_ref() };
        if this.live.fetch_sub(1, Full) != 1 {
            return false;
        }
        this.socket.detach();
        // SAFETY: It is from `Unshared::into_raw`, and nobody finds it any more but who already has, under RCU.
        unsafe { rcu::retire(group) };
        true
    }
}

/// The function of a slot's timer.
///
/// # Safety
///
/// To be called by the timer of a slot only.
unsafe extern "C" fn tick(timer: *mut bindings::timer_list) {
    // SAFETY: The timer is that of a slot, which is not freed before it is shut down.
    let slot = unsafe { Slot::from_timer(timer) };
    let guard = rcu::Guard::new();
    let judge = |waits| {
        let verdict = slot.judge(waits, &guard);
        let group = Group::of(slot.socket(), &guard);
        if let Some((group, again)) = group.zip(verdict.call) {
            group.help.call_again(&group.slots, slot, again, &guard);
        } else if let Some(group) = group.filter(|_| !waits && slot.is_loaded()) {
            // Two took the last ones at once.
            group.calm(slot);
        }
        verdict.push
    };
    let pushed = slot.tick(judge);
    trace::migrated(slot.socket(), slot.cpu(), pushed);
}
