// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Mutexes in statics.

use super::{mutex::MutexBackend, Lock};
use crate::{
    error::{code::*, Result},
    init::PinInit,
    str::CStr,
    sync::{
        atomic::{Acquire, Atomic, Relaxed, Release},
        LockClassKey,
    },
    types::Opaque,
};

/// A mutex in a static, which is there when somebody has made it.
///
/// It is never dropped, nor is what it protects: who makes it takes that out in the end.
///
/// # Examples
///
/// ```
/// use kernel::{c_str, static_lock_class, sync::lock::global::GlobalMutex};
///
/// static NUMBER: GlobalMutex<u32> = GlobalMutex::new();
///
/// assert!(NUMBER.get().is_none());
/// NUMBER.init(3, c_str!("NUMBER"), static_lock_class!())?;
/// *NUMBER.get().ok_or(EINVAL)?.lock() += 1;
/// assert_eq!(NUMBER.get().map(|number| *number.lock()), Some(4));
/// assert!(NUMBER.init(0, c_str!("NUMBER"), static_lock_class!()).is_err());
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// If `is_made` is true, `lock` is initialised, and stays so.
pub struct GlobalMutex<T> {
    is_begun: Atomic<bool>,
    is_made: Atomic<bool>,
    lock: Opaque<Lock<T, MutexBackend>>,
}

// SAFETY: It is written once, by who has begun to, and is shared as a lock from then on.
unsafe impl<T: Send> Sync for GlobalMutex<T> {}

impl<T> GlobalMutex<T> {
    /// One that is not there yet.
    #[allow(clippy::new_without_default)] // That is of no use in a static.
    pub const fn new() -> Self {
        // INVARIANT: It is not made.
        Self {
            is_begun: Atomic::<bool>::new(false),
            is_made: Atomic::<bool>::new(false),
            lock: Opaque::uninit(),
        }
    }

    /// Makes it, with what it protects. Any context.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody has, or is about to.
    pub fn init(&'static self, data: T, name: &'static CStr, key: &'static LockClassKey) -> Result {
        if self.is_begun.xchg(true, Relaxed) {
            return Err(EBUSY);
        }
        // SAFETY: This is the only one that ever gets here, and nobody uses the lock before it is made. A
        // static stays where it is.
        unsafe { Lock::new(data, name, key).__pinned_init(self.lock.get())? };
        // INVARIANT: Just initialised.
        self.is_made.store(true, Release);
        Ok(())
    }

    /// The mutex, if it is there. Any context.
    pub fn get(&'static self) -> Option<&'static Lock<T, MutexBackend>> {
        // SAFETY: By the type invariants.
        self.is_made
            .load(Acquire)
            .then(|| unsafe { &*self.lock.get() })
    }
}
