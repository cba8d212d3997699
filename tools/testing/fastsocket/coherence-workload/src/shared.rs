// SPDX-License-Identifier: GPL-2.0

//! What the processes have in common: where they wait for each other.

use crate::sys;
use std::{
    io,
    sync::atomic::{AtomicU32, Ordering},
};

/// A number to wait for, on a cache line of its own.
#[repr(align(64))]
pub(crate) struct Count(AtomicU32);

/// Any higher than what is waited for: some process has failed.
const FAILED: u32 = 1 << 31;

impl Count {
    pub(crate) fn set(&self, value: u32) {
        self.0.store(value, Ordering::Release);
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// One more, for which nobody waits.
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One more; wakes who waits.
    pub(crate) fn add(&self) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::AcqRel);
        sys::futex_wake(&self.0)
    }

    /// One less; whether it was the last.
    pub(crate) fn take(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    pub(crate) fn open(&self) -> io::Result<()> {
        self.add()
    }

    fn fail(&self) {
        self.0.fetch_or(FAILED, Ordering::AcqRel);
        let _ = sys::futex_wake(&self.0);
    }

    /// Sleeps until the number has been reached.
    pub(crate) fn wait_for(&self, number: u32) -> io::Result<()> {
        loop {
            match self.0.load(Ordering::Acquire) {
                now if now >= FAILED => return Err(io::Error::other("a process has failed")),
                now if now >= number => return Ok(()),
                now => sys::futex_wait(&self.0, now)?,
            }
        }
    }
}

/// In memory that all processes share.
#[repr(C)]
pub(crate) struct Shared {
    /// Backends and workers that listen, clients that run, clients that are warm.
    pub(crate) ready: Count,
    /// Clients may warm up.
    pub(crate) warm: Count,
    /// Clients may begin with what is counted.
    pub(crate) begin: Count,
    /// Clients that have not finished.
    pub(crate) left: Count,
    /// All have.
    pub(crate) done: Count,
    /// Connections that workers accepted before anything was counted.
    pub(crate) accepted: Count,
    /// Those of them that came to the CPU that received them.
    pub(crate) accepted_local: Count,
}

impl Shared {
    pub(crate) fn new() -> io::Result<&'static Self> {
        let memory = sys::shared_memory(size_of::<Self>())?;
        // SAFETY: zeroed memory that is never unmapped, aligned to a page; atomics alone,
        // for which zero is valid.
        Ok(unsafe { &*memory.cast::<Self>() })
    }

    /// Whether what happens is not counted yet.
    pub(crate) fn is_warming_up(&self) -> bool {
        self.begin.get() == 0
    }

    /// Tells all who wait.
    pub(crate) fn fail(&self) {
        for count in [&self.ready, &self.warm, &self.begin, &self.done] {
            count.fail();
        }
    }
}
