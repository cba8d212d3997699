// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Receive CPU selection: the packets of a connection go to the CPU where a task has last used its socket.
//!
//! A task that accepts a connection, reads, writes or polls leaves its CPU in a table of its network namespace, by a key that
//! follows from addresses and ports; whoever receives a packet computes the same key. Of two connections that meet in the
//! table the last one that was used has the entry, and the other's packets stay where they are received.
//!
//! When the task goes to another CPU, packets that were handed to the old one, and that it has not looked at, are waited for:
//! until then the next ones follow them there. Of two connections that meet in the notes of that, the one whose packets wait
//! has the note; should the other's task move at that moment, its packets may overtake each other.

use super::{Answer, Flow};
use crate::core::stats::Counter;
use core::mem::{offset_of, size_of};
use kernel::{
    alloc::{flags::GFP_KERNEL_ACCOUNT, KVVec},
    bindings,
    cpu::{nr_cpu_ids, CpuId},
    cpumask::is_online,
    init::Zeroable,
    net::namespace::{per_net_key, Namespace, PerNet},
    percpu::SharedPerCpu,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
    sync::rcu,
};

/// How many connections a network namespace has room for: the first one, and any other.
const ENTRIES: [usize; 2] = [32768, 2048];

/// For how many connections it is noted where packets were handed to, by queue.
const HANDED: usize = 256;

/// Where packets of a connection were handed to, in the layout of `struct rps_dev_flow`, of which the network stack fills in
/// the tail.
#[repr(C)]
pub(super) struct Handed {
    /// A part of its key in the upper half, and the number of the CPU and one in the lower; 0 is nowhere.
    to: Atomic<u32>,
    /// How far the queue of that CPU was then.
    tail: Atomic<u32>,
}

// As C asserts of its own.
const _: () = assert!(size_of::<Handed>() == 8 && offset_of!(Handed, tail) == 4);

// SAFETY: These are two numbers.
unsafe impl Zeroable for Handed {}

impl Handed {
    /// For the network stack.
    pub(super) fn as_ptr(&self) -> *mut bindings::rps_dev_flow {
        // CAST: It has the layout; the tail is changed by single stores, as here.
        core::ptr::from_ref(self).cast_mut().cast()
    }
}

/// A network namespace's tables.
pub(crate) struct Users {
    /// A key in the upper half, and a CPU's number and one in the lower; 0 is nobody.
    used: KVVec<Atomic<u64>>,
    /// As many as there are CPUs, for the queues of devices, and not for whom receives from one at the moment: who has handed
    /// packets over may be another one the next time.
    handed: SharedPerCpu<[Handed; HANDED]>,
}

per_net_key!(Users);

impl PerNet for Users {
    fn new(net: &Namespace) -> impl PinInit<Self, Error> {
        let is_first = core::ptr::eq(net.as_ptr(), core::ptr::addr_of!(bindings::init_net));
        try_init!(Self {
            used: entries(ENTRIES[usize::from(!is_first)])?,
            handed: SharedPerCpu::zeroed(GFP_KERNEL_ACCOUNT)?,
        }? Error)
    }
}

fn entries(number: usize) -> Result<KVVec<Atomic<u64>>> {
    let mut all = KVVec::with_capacity(number, GFP_KERNEL_ACCOUNT)?;
    for _ in 0..number {
        all.push(Atomic::new(0), GFP_KERNEL_ACCOUNT)?;
    }
    Ok(all)
}

/// What stands in an entry.
fn entry(key: u32, cpu: u32) -> u64 {
    (u64::from(key) << 32) | (u64::from(cpu) + 1)
}

/// Which CPU an entry names, if it is of that key.
fn cpu_of(entry: u64, key: u32) -> Option<u32> {
    // CAST: The halves.
    let (of, cpu) = ((entry >> 32) as u32, entry as u32);
    if of == key {
        cpu.checked_sub(1)
    } else {
        None
    }
}

/// A number below `entries` for a key, of which the lowest four bits and the highest differ most.
fn index(key: u32, entries: usize) -> usize {
    key.rotate_left(12) as usize % entries.max(1)
}

/// What stands in a note.
fn note(key: u32, cpu: u32) -> u32 {
    ((key ^ (key >> 16)) << 16) | (cpu.wrapping_add(1) & 0xffff)
}

/// What a note says: the CPU, and whether it is of that key.
fn noted(note_: u32, key: u32) -> Option<(u32, bool)> {
    let cpu = (note_ & 0xffff).checked_sub(1)?;
    Some((cpu, note_ == note(key, cpu)))
}

/// What is done with a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noting {
    /// It is right.
    Keep,
    /// It is ours from now on, and names the CPU.
    Take,
    /// It is another connection's, which needs it.
    Leave,
}

/// Where packets go: to the CPU that is wanted, unless the last one to which those of the same connection went still has some.
fn choose(
    wanted: Option<u32>,
    last: Option<(u32, bool)>,
    has_some: impl Fn(u32) -> bool,
) -> Option<(u32, Noting)> {
    match last {
        Some((last, true)) if wanted == Some(last) || has_some(last) => Some((last, Noting::Keep)),
        Some((last, false)) if has_some(last) => Some((wanted?, Noting::Leave)),
        _ => Some((wanted?, Noting::Take)),
    }
}

/// Of two numbers that are counted up, and wrap around.
fn is_before(earlier: u32, later: u32) -> bool {
    // CAST: They are not half of all numbers apart.
    (earlier.wrapping_sub(later) as i32) < 0
}

/// How far a CPU is with what is handed to it.
fn processed(cpu: CpuId) -> u32 {
    // SAFETY: It is a CPU's number.
    unsafe { bindings::fastsocket_processed(cpu.as_u32()) }
}

impl Users {
    fn handed(&self, key: u32, queue: u32) -> Option<&Handed> {
        let cpu = CpuId::from_u32(queue.checked_rem(nr_cpu_ids())?)?;
        self.handed.on(cpu).get(index(key, HANDED))
    }

    fn used(&self, key: u32) -> Option<&Atomic<u64>> {
        self.used.get(index(key, self.used.len()))
    }
}

/// The rule: see [`super::Rule`].
pub(super) fn steer<'a>(
    net: &'a Namespace,
    flow: &Flow,
    guard: &'a rcu::Guard,
) -> Option<Answer<'a>> {
    let users = Users::get(net, guard)?;
    // SAFETY: The namespace is there, as are the addresses of the flow.
    let key = unsafe { bindings::fastsocket_flow_key(net.as_ptr(), flow) };
    let wanted = cpu_of(users.used(key)?.load(Relaxed), key)
        .and_then(CpuId::from_u32)
        .filter(|cpu| is_online(*cpu));
    let handed = users.handed(key, flow.queue)?;
    let last = noted(handed.to.load(Relaxed), key);
    let (cpu, noting) = choose(wanted.map(|cpu| cpu.as_u32()), last, |last| {
        let tail = handed.tail.load(Relaxed);
        CpuId::from_u32(last)
            .is_some_and(|last| is_online(last) && is_before(processed(last), tail))
    })?;
    let cpu = CpuId::from_u32(cpu)?;
    if noting == Noting::Take {
        handed.to.store(note(key, cpu.as_u32()), Relaxed);
        // Nothing is there yet.
        handed.tail.store(processed(cpu), Relaxed);
    }
    Some(Answer {
        cpu,
        counter: Counter::Selected,
        queues: true,
        handed: (noting != Noting::Leave).then_some(handed),
    })
}

/// # Safety
///
/// As `fastsocket_steer_ops.used`.
pub(super) unsafe extern "C" fn used(net: *const bindings::net, key: u32) {
    // SAFETY: By the safety requirements; it is called under RCU.
    let (net, guard) = unsafe { (Namespace::from_raw(net.cast_mut()), rcu::Guard::assume()) };
    let now = entry(key, CpuId::current().as_u32());
    let entry = Users::get(net, &guard).and_then(|users| users.used(key));
    // Others read it.
    if let Some(entry) = entry.filter(|entry| entry.load(Relaxed) != now) {
        entry.store(now, Relaxed);
    }
}

#[kernel::macros::kunit_tests(fastsocket_rcs)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_of_its_key_alone() {
        assert_eq!(cpu_of(0, 0), None);
        for key in [0, 1, 0x8000_0000, u32::MAX] {
            for cpu in [0, 1, 8191] {
                assert_eq!(cpu_of(entry(key, cpu), key), Some(cpu));
                assert_eq!(cpu_of(entry(key, cpu), !key), None);
            }
        }
    }

    /// Keys have nothing in the bits of CPUs and homes: four at the bottom, and those above.
    #[test]
    fn keys_are_spread_over_all_entries() {
        let mut hit = [false; 256];
        for low in 0..16 {
            for high in 0..16 {
                if let Some(hit) = hit.get_mut(index((high << 28) | low, 65536) >> 8) {
                    *hit = true;
                }
            }
        }
        assert_eq!(hit, [true; 256]);
        assert_eq!(index(u32::MAX, 0), 0);
    }

    #[test]
    fn numbers_wrap_around() {
        for number in [0, 1, 0x7fff_ffff, u32::MAX] {
            assert!(!is_before(number, number));
            assert!(is_before(number, number.wrapping_add(1)));
            assert!(!is_before(number.wrapping_add(1), number));
        }
    }

    #[test]
    fn a_note_tells_whose_it_is() {
        assert_eq!(noted(0, 0), None);
        for key in [0, 1, 0x1234_0000, u32::MAX] {
            for cpu in [0, 1, 8191] {
                assert_eq!(noted(note(key, cpu), key), Some((cpu, true)));
                assert_eq!(noted(note(key, cpu), key ^ 0x0010_0000), Some((cpu, false)));
            }
        }
    }

    #[test]
    fn packets_follow_those_that_are_not_processed() {
        use Noting::{Keep, Take};

        for some in [false, true] {
            assert_eq!(choose(None, None, |_| some), None);
            assert_eq!(choose(Some(1), None, |_| some), Some((1, Take)));
            assert_eq!(choose(Some(1), Some((1, true)), |_| some), Some((1, Keep)));
        }
        assert_eq!(choose(Some(1), Some((2, true)), |_| true), Some((2, Keep)));
        assert_eq!(choose(Some(1), Some((2, true)), |_| false), Some((1, Take)));
        assert_eq!(choose(None, Some((2, true)), |_| true), Some((2, Keep)));
        assert_eq!(choose(None, Some((2, true)), |_| false), None);
    }

    /// And not those of others.
    #[test]
    fn who_needs_a_note_keeps_it() {
        use Noting::{Leave, Take};

        assert_eq!(
            choose(Some(1), Some((2, false)), |_| true),
            Some((1, Leave))
        );
        assert_eq!(
            choose(Some(1), Some((1, false)), |_| true),
            Some((1, Leave))
        );
        assert_eq!(
            choose(Some(1), Some((2, false)), |_| false),
            Some((1, Take))
        );
        assert_eq!(choose(None, Some((2, false)), |_| true), None);
        assert_eq!(choose(None, Some((2, false)), |_| false), None);
    }
}
