// SPDX-License-Identifier: GPL-2.0

//! What the processes of a run have in common: where they meet, when a connection was
//! accepted, and how long each took.

use fastsocket_guest::{
    count::Count,
    sys::{self, check},
};
use serde::{Deserialize, Serialize};
use std::{
    cell::UnsafeCell,
    io, mem,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

/// How many connections can be measured in a run.
const ROOM: usize = 1 << 17;

/// In memory that all processes share.
#[repr(C)]
pub(crate) struct Shared {
    /// Tasks of the server that are about to wait, and clients.
    pub(crate) ready: Count,
    /// Clients may begin.
    pub(crate) begin: Count,
    /// Clients that have nothing open any more.
    pub(crate) finished: Count,
    /// 1 when workers of the first generation are to accept nothing any more.
    pub(crate) retired: AtomicU32,
    /// When clients began.
    began: AtomicU64,
    /// Connections that were answered in the window.
    pub(crate) answered: Count,
    /// Connections that were not.
    pub(crate) failed: Count,
    /// A lock for those who wait.
    pub(crate) lock: Lock,
    /// When the connection of the client with that port was accepted; 0 if it was not.
    accepted: [AtomicU64; 1 << 16],
    measured: AtomicU64,
    /// From connect() to accept(), and to the end of the answer.
    delays: [[AtomicU64; 2]; ROOM],
}

impl Shared {
    pub(crate) fn new() -> io::Result<&'static Self> {
        let memory = sys::shared_memory(size_of::<Self>())?;
        // SAFETY: zeroed memory that is never unmapped, aligned to a page; atomics, and a mutex
        // that nobody uses before `Lock::set_up`.
        let shared = unsafe { &*memory.cast::<Self>() };
        shared.lock.set_up()?;
        Ok(shared)
    }

    /// Tells all who wait that something has failed.
    pub(crate) fn fail(&self) {
        for count in [&self.ready, &self.begin, &self.finished] {
            count.fail();
        }
    }

    /// Lets clients begin.
    pub(crate) fn begin(&self) -> io::Result<u64> {
        let now = now()?;
        self.began.store(now, Ordering::Relaxed);
        self.begin.open()?;
        Ok(now)
    }

    /// When they were let to.
    pub(crate) fn began(&self) -> u64 {
        self.began.load(Ordering::Relaxed)
    }

    /// The connection of the client with that port has been accepted just now.
    pub(crate) fn accepted(&self, port: u16) -> io::Result<()> {
        self.accepted[usize::from(port)].store(now()?, Ordering::Release);
        Ok(())
    }

    /// When it was; the port can be used again from here on.
    pub(crate) fn take_accepted(&self, port: u16) -> Option<u64> {
        match self.accepted[usize::from(port)].swap(0, Ordering::Acquire) {
            0 => None,
            at => Some(at),
        }
    }

    /// Keeps how long a connection took.
    pub(crate) fn measured(&self, to_accept: u64, to_answer: u64) -> io::Result<()> {
        let n = self.measured.fetch_add(1, Ordering::Relaxed) as usize;
        let place = self.delays.get(n);
        let place = place.ok_or_else(|| io::Error::other("more connections than there is room"))?;
        place[0].store(to_accept, Ordering::Relaxed);
        place[1].store(to_answer, Ordering::Relaxed);
        Ok(())
    }

    /// How long they took, when all clients have finished: to accept(), and to the answer.
    pub(crate) fn delays(&self) -> [Delays; 2] {
        let n = (self.measured.load(Ordering::Relaxed) as usize).min(ROOM);
        [0, 1].map(|which| {
            let delays = self.delays[..n].iter();
            Delays::of(
                delays
                    .map(|delay| delay[which].load(Ordering::Relaxed))
                    .collect(),
            )
        })
    }
}

/// Of many delays, in nanoseconds; none if there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delays {
    pub(crate) count: usize,
    pub(crate) p50: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) max: Option<u64>,
}

impl Delays {
    fn of(mut delays: Vec<u64>) -> Self {
        delays.sort_unstable();
        let count = delays.len();
        // The least that so many percent do not exceed.
        let percentile = |percent: usize| {
            let rank = (count * percent).div_ceil(100);
            delays.get(rank.saturating_sub(1)).copied()
        };
        Self {
            count,
            p50: percentile(50),
            p99: percentile(99),
            max: delays.last().copied(),
        }
    }
}

/// A mutex that processes share.
#[repr(transparent)]
pub(crate) struct Lock(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: that is what a mutex is for.
unsafe impl Sync for Lock {}

impl Lock {
    fn set_up(&self) -> io::Result<()> {
        // SAFETY: `attributes` is set up before it is used; nobody uses the mutex yet.
        unsafe {
            let mut attributes = mem::zeroed();
            positive(libc::pthread_mutexattr_init(&mut attributes))?;
            positive(libc::pthread_mutexattr_setpshared(
                &mut attributes,
                libc::PTHREAD_PROCESS_SHARED,
            ))?;
            positive(libc::pthread_mutex_init(self.0.get(), &attributes))
        }
    }

    /// Runs `within` with the lock held.
    pub(crate) fn hold<T>(&self, within: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        // SAFETY: it has been set up.
        positive(unsafe { libc::pthread_mutex_lock(self.0.get()) })?;
        let result = within();
        // SAFETY: it has been set up, and is held.
        positive(unsafe { libc::pthread_mutex_unlock(self.0.get()) })?;
        result
    }
}

/// What functions return that do not set `errno`.
fn positive(error: libc::c_int) -> io::Result<()> {
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// The time of a clock in nanoseconds.
pub(crate) fn time(clock: libc::clockid_t) -> io::Result<u64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the time is valid for the call.
    check(unsafe { libc::clock_gettime(clock, &mut time) })?;
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// What all processes have the same.
pub(crate) fn now() -> io::Result<u64> {
    time(libc::CLOCK_MONOTONIC)
}

#[cfg(test)]
mod tests {
    use super::{Delays, Shared};
    use std::thread;

    #[test]
    fn percentiles() {
        assert_eq!(Delays::of(Vec::new()), Delays::default());
        let one = Delays::of(vec![7]);
        assert_eq!((one.p50, one.p99, one.max), (Some(7), Some(7), Some(7)));
        let many = Delays::of((1..=1000).rev().collect());
        assert_eq!(many.count, 1000);
        assert_eq!(
            (many.p50, many.p99, many.max),
            (Some(500), Some(990), Some(1000))
        );
    }

    #[test]
    fn an_accept_is_taken_once() {
        let shared = Shared::new().expect("memory");
        assert_eq!(shared.take_accepted(80), None);
        shared.accepted(80).expect("a clock");
        assert!(shared.take_accepted(80).is_some());
        assert_eq!(shared.take_accepted(80), None);
    }

    #[test]
    fn one_holds_the_lock() {
        let shared = Shared::new().expect("memory");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let step = shared.lock.hold(|| {
                            let n = shared.answered.get();
                            thread::yield_now();
                            shared.answered.set(n + 1);
                            Ok(())
                        });
                        step.expect("a lock");
                    }
                });
            }
        });
        assert_eq!(shared.answered.get(), 4000);
    }
}
