// SPDX-License-Identifier: GPL-2.0

//! Numbers in shared memory that processes wait for.

use crate::sys;
use std::{
    io,
    sync::atomic::{AtomicU32, Ordering},
};

/// A number to wait for, on a cache line of its own.
#[repr(align(64))]
pub struct Count(AtomicU32);

/// Any higher than what is waited for: some process has failed.
const FAILED: u32 = 1 << 31;

impl Count {
    /// Sets it, before anybody waits.
    pub fn set(&self, value: u32) {
        self.0.store(value, Ordering::Release);
    }

    /// The number.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// One more, for which nobody waits.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One more; wakes who waits.
    pub fn add(&self) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::AcqRel);
        sys::futex_wake(&self.0)
    }

    /// One less; whether it was the last.
    pub fn take(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Lets pass who waits for one.
    pub fn open(&self) -> io::Result<()> {
        self.add()
    }

    /// Tells all who wait that they wait in vain.
    pub fn fail(&self) {
        self.0.fetch_or(FAILED, Ordering::AcqRel);
        let _ = sys::futex_wake(&self.0);
    }

    /// Sleeps until the number has been reached.
    pub fn wait_for(&self, number: u32) -> io::Result<()> {
        loop {
            match self.0.load(Ordering::Acquire) {
                now if now >= FAILED => return Err(io::Error::other("a process has failed")),
                now if now >= number => return Ok(()),
                now => sys::futex_wait(&self.0, now)?,
            }
        }
    }
}
