// SPDX-License-Identifier: GPL-2.0

//! What the processes have in common: where they wait for each other.

use fastsocket_guest::{count::Count, sys};
use std::io;

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
