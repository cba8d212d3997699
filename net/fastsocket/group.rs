// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! A group: a spawned socket and its slots.
//!
//! A slot is made when a task first serves its CPU, and stays as long as the group, which is released
//! with the socket: pollers keep pointers to its wait queue.

use core::{
    ptr::{self, NonNull},
    sync::atomic::{fence, AtomicBool, AtomicPtr, AtomicU32, Ordering},
};
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    cpu::{self, CpuId},
    prelude::*,
    sync::{
        rcu::{self, RcuBox},
        Arc,
    },
    types::ARef,
};

use crate::{
    affinity::Mode,
    ffi::{self, Credentials, SocketFile},
    hooks,
    listener::{Listener, Locked},
    reuseport::Peers,
    slot::{Slot, Waits},
    stats::{Counter, Stats},
    steal::LoadedCpus,
};

/// A spawned socket.
///
/// # Invariants
///
/// Each of `slots` is null or the pointer of an [`RcuBox`] that this owns, set once.
pub(crate) struct Group {
    primary: ARef<Listener>,
    slots: KVec<AtomicPtr<Slot>>,
    /// It was found that the socket cannot have local listeners, by an option that it has.
    barred: AtomicBool,
    /// Of which CPUs the slots are loaded.
    loaded: LoadedCpus,
    /// How many pushes from its slots have begun, and how many of them are over.
    pushing: AtomicU32,
    pushed: AtomicU32,
    /// Where the next idle consumer is looked for.
    next_idle: AtomicU32,
    /// What it shares with the other members of its SO_REUSEPORT group.
    peers: Option<Arc<Peers>>,
    /// Who spawned it, and can have bound by that whom they could bind anyway.
    spawner: Credentials,
    /// How many connections were taken from the socket's own queue, and how many had been when a wake-up
    /// for it was last passed on.
    taken: AtomicU32,
    passed: AtomicU32,
}

/// Spawns a socket. Process context; sleeps.
///
/// # Errors
///
/// `EALREADY` if it is spawned, `EINVAL` if it does not listen, `EOPNOTSUPP`, `ENOMEM`.
pub(crate) fn attach(file: &SocketFile) -> Result {
    if file.group().is_some() && file.listener().is_listening() {
        return Err(EALREADY);
    }
    let primary = file.listener();
    let mut slots = KVec::with_capacity(cpu::nr_cpu_ids() as usize, GFP_KERNEL_ACCOUNT)?;
    for _ in 0..cpu::nr_cpu_ids() {
        slots.push(AtomicPtr::new(ptr::null_mut()), GFP_KERNEL_ACCOUNT)?;
    }
    let loaded = LoadedCpus::new(GFP_KERNEL_ACCOUNT)?;
    let state = hooks::state()?;
    let net = primary.clone();

    // The lock of all comes last: whoever holds that of a socket may keep it for as long as they like.
    let lock = net.lock();
    let one = state.spawning.lock();
    let group = Group {
        peers: Peers::of(&primary)?,
        primary,
        slots,
        barred: AtomicBool::new(false),
        loaded,
        pushing: AtomicU32::new(0),
        pushed: AtomicU32::new(0),
        next_idle: AtomicU32::new(0),
        spawner: Credentials::current(),
        taken: AtomicU32::new(0),
        passed: AtomicU32::new(u32::MAX),
    };
    file.attach(&lock, RcuBox::new(group, GFP_KERNEL_ACCOUNT)?)?;
    drop(one);
    drop(lock);

    let here = CpuId::current_hint();
    Stats::count(net.net(), here, Counter::Listen, &rcu::Guard::new());
    Ok(())
}

impl Group {
    /// The socket that the program has.
    pub(crate) fn primary(&self) -> &Listener {
        &self.primary
    }

    /// What it shares with the other members of its SO_REUSEPORT group, if it is in one.
    pub(crate) fn peers(&self) -> Option<&Arc<Peers>> {
        self.peers.as_ref()
    }

    /// Returns the slot of a CPU, if a task ever served it.
    pub(crate) fn slot(&self, cpu: CpuId) -> Option<&Slot> {
        // SAFETY: By the type invariants.
        unsafe {
            self.slots
                .get(cpu.index())?
                .load(Ordering::Acquire)
                .as_ref()
        }
    }

    /// Returns all slots.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        // SAFETY: By the type invariants.
        self.slots
            .iter()
            .filter_map(|slot| unsafe { slot.load(Ordering::Acquire).as_ref() })
    }

    /// Returns all slots, those of a NUMA node first.
    pub(crate) fn slots_near(&self, node: cpu::Node) -> impl Iterator<Item = &Slot> {
        [true, false].into_iter().flat_map(move |near| {
            self.slots()
                .filter(move |slot| (slot.node() == node) == near)
        })
    }

    /// Returns the slots that idle consumers may take from, those of a NUMA node first. Any context.
    #[inline]
    pub(crate) fn loaded_near(&self, node: cpu::Node) -> impl Iterator<Item = &Slot> {
        [true, false].into_iter().flat_map(move |near| {
            self.loaded()
                .filter(move |slot| (slot.node() == node) == near)
        })
    }

    #[inline]
    fn loaded(&self) -> impl Iterator<Item = &Slot> {
        self.loaded.iter().filter_map(|cpu| self.slot(cpu))
    }

    /// A slot has become loaded, or is not any more. Any context.
    pub(crate) fn note_loaded(&self, cpu: CpuId, loaded: bool) {
        self.loaded.set(cpu, loaded);
    }

    /// Calls `push`, which moves what is queued at a slot to the socket's own queue. In between, it is
    /// in neither. Softirq.
    pub(crate) fn while_pushing<T>(&self, push: impl FnOnce() -> T) -> T {
        self.pushing.fetch_add(1, Ordering::Relaxed);
        // Who sees that a queue is empty since this push sees that it has begun.
        fence(Ordering::SeqCst);
        let res = push();
        self.pushed.fetch_add(1, Ordering::Release);
        res
    }

    /// How many pushes had begun when all was seen that was looked at before? Any context.
    #[inline]
    pub(crate) fn pushes_begun(&self) -> u32 {
        fence(Ordering::Acquire);
        self.pushing.load(Ordering::Relaxed)
    }

    /// How many pushes are over, of which all is seen that is looked at afterwards? Any context.
    #[inline]
    pub(crate) fn pushes_over(&self) -> u32 {
        self.pushed.load(Ordering::Acquire)
    }

    /// Wakes an idle consumer, if there is one, to take from a slot that is loaded. Softirq.
    ///
    /// One that does not come, since it waits for something else, is not the first to be asked again.
    pub(crate) fn wake_idle(&self, loaded: &Slot, guard: &rcu::Guard) {
        let from = self.next_idle.load(Ordering::Relaxed);
        let idle = |slot: &&Slot| !ptr::eq(*slot, loaded) && slot.is_idle(guard);
        // Of equal keys, min_by_key() takes the first.
        let chosen = self.slots_near(loaded.node()).filter(idle);
        let key = |slot: &&Slot| (slot.node() != loaded.node(), slot.cpu().get() < from);
        if let Some(slot) = chosen.min_by_key(key) {
            let next = slot.cpu().get().wrapping_add(1);
            self.next_idle.store(next, Ordering::Relaxed);
            slot.queue().wake();
        }
    }

    /// A connection was taken from the socket's own queue.
    pub(crate) fn took_global(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was taken from elsewhere: if one waits in the socket's own queue, the wake-up for that
    /// may have been for this task. Wakes another, once for each that waits there first. Process context.
    pub(crate) fn pass_wake_on(&self) {
        if self.primary.is_empty() {
            return;
        }
        let taken = self.taken.load(Ordering::Relaxed);
        if self.passed.load(Ordering::Relaxed) != taken {
            self.passed.store(taken, Ordering::Relaxed);
            self.primary.pass_wake_on();
        }
    }

    /// Returns the slot whose consumer the current task is, and on whose CPU it runs and stays.
    ///
    /// Notes that the consumer looks, and how it will wait if it is about to. Process context; sleeps.
    pub(crate) fn own_slot(&self, waits: Option<Waits>) -> Option<&Slot> {
        let cpu = ffi::served_cpu()?;
        let slot = self.slot(cpu).filter(|slot| slot.is_own())?;
        slot.attend(waits);
        if slot.is_due() {
            slot.renew(&self.primary.lock());
        }
        Some(slot)
    }

    /// The current task waits at the socket: returns the slot that it is to wait at too, if any.
    ///
    /// Process context; sleeps, and may move the task to another CPU.
    pub(crate) fn enlist(&self, waits: Waits) -> Option<&Slot> {
        if self.barred.load(Ordering::Relaxed) {
            return None;
        }
        let known = |slot: &&Slot| slot.is_filled();
        if let Some(slot) = self.own_slot(Some(waits)).filter(known) {
            return Some(slot);
        }
        // One of several that serve the CPU: another was here last, and is to be found.
        let shared = ffi::served_cpu().and_then(|cpu| self.slot(cpu));
        if let Some(slot) = shared.filter(|slot| slot.has_consumer()).filter(known) {
            return Some(slot);
        }
        // What goes wrong leaves the task with the socket's own queue, where nothing is lost.
        self.enlist_on(None, waits).ok().flatten()
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
        let free = mode == Mode::Bound && wanted.is_none() && ffi::bound_cpu().is_none();
        if mode == Mode::Off || free || !ffi::is_program() {
            return Ok(None);
        }
        // Whoever names a CPU binds themselves.
        if mode == Mode::Bind && wanted.is_none() && !self.spawner.may_bind_current() {
            return Ok(None);
        }
        let state = hooks::state()?;
        let placed = state.consumers.place(mode, wanted)?;
        let Some(cpu) = placed else {
            return Ok(None);
        };

        let lock = self.primary.lock();
        if !self.primary.is_listening() {
            return Ok(None);
        }
        let slot = match self.slot(cpu) {
            Some(slot) => slot,
            None => self.add(&lock, cpu)?,
        };
        let before = slot.consumer_id();
        let enlisted = slot.enlist(&lock, waits);
        if enlisted == Err(EOPNOTSUPP) {
            self.barred.store(true, Ordering::Relaxed);
        }
        enlisted?;
        self.note_several(before, &lock);
        self.note_several(slot.consumer_id(), &lock);
        Ok(Some(slot))
    }

    /// A task has become the consumer of one more or one less slot: notes at its slots whether they are
    /// several. It goes on looking at those that it was moved away from until somebody else serves them.
    fn note_several(&self, consumer: usize, lock: &Locked<'_>) {
        let its = || self.slots().filter(|slot| slot.consumer_id() == consumer);
        let several = its().nth(1).is_some();
        its().for_each(|slot| slot.set_one_of_several(several, lock));
    }

    /// Makes the slot of a CPU.
    fn add(&self, _lock: &Locked<'_>, cpu: CpuId) -> Result<&Slot> {
        let state = hooks::state()?;
        let cell = self.slots.get(cpu.index()).ok_or(EINVAL)?;
        let slot = RcuBox::into_raw(Slot::new(self.primary.clone(), cpu)?);

        // INVARIANT: It was null, and the lock keeps others from setting it.
        cell.store(slot.as_ptr(), Ordering::Release);
        if let Some(peers) = &self.peers {
            // SAFETY: It was just made; `release` removes it, and it is freed a grace period later.
            unsafe { peers.insert(&state.peers_lock, slot) };
        }
        self.slot(cpu).ok_or(EINVAL)
    }

    /// `listen(2)` or, if `option`, `setsockopt(2)` was called on the socket. Process context; sleeps for
    /// the socket lock.
    pub(crate) fn changed(&self, option: bool) {
        let lock = self.primary.lock();
        if !self.primary.is_listening() {
            return;
        }
        self.barred.store(false, Ordering::Relaxed);
        if option {
            self.slots().for_each(|slot| slot.outdate(&lock));
        } else {
            self.slots().for_each(|slot| slot.relisten(&lock));
        }
    }

    /// The socket has left `TCP_LISTEN`. Process context; does not sleep.
    pub(crate) fn stop(&self, lock: &Locked<'_>) {
        self.slots().for_each(|slot| slot.stop(lock));
    }

    /// Frees the group of a socket that is gone. Process context; sleeps.
    ///
    /// # Safety
    ///
    /// `group` must have been attached to a socket that has been released since, and that had no other
    /// users then.
    pub(crate) unsafe fn release(group: NonNull<Self>) {
        // SAFETY: By the safety requirements; RCU readers may still use it.
        let group = unsafe { rcu::Retired::from_raw(group) };

        if let (Ok(state), Some(peers)) = (hooks::state(), &group.peers) {
            for slot in group.slots() {
                peers.remove(&state.peers_lock, slot);
            }
        }
        group.slots().for_each(Slot::shut_down);
        group.primary.detach();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for slot in self.slots.iter_mut() {
            if let Some(slot) = NonNull::new(*slot.get_mut()) {
                // SAFETY: By the type invariants; the group is dropped after a grace period.
                drop(unsafe { RcuBox::from_raw(slot) });
            }
        }
    }
}
