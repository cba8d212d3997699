// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! What the hooks of a room work on.

use core::ptr;
use kernel::{
    prelude::*,
    sync::atomic::{Acquire, Atomic, Release},
};

/// Where the hooks of a room find what they work on, while they are registered.
pub(crate) struct State<T: 'static>(Atomic<*mut T>);

impl<T: Send + Sync> State<T> {
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(ptr::null_mut()))
    }

    /// Returns what the hooks work on.
    ///
    /// # Errors
    ///
    /// `ENODEV` while the module is not quite there.
    #[inline]
    pub(crate) fn get(&self) -> Result<&'static T> {
        // SAFETY: By the safety requirements of `install`, it is null or stays while it is used.
        unsafe { self.0.load(Acquire).as_ref() }.ok_or(ENODEV)
    }

    /// Puts something there, until what is returned is dropped.
    ///
    /// # Safety
    ///
    /// Whoever calls [`get`](Self::get) must do so in a hook, or on behalf of an open device or a spawned socket,
    /// and all of that must be over when what is returned is dropped.
    pub(crate) unsafe fn install(&'static self, value: Pin<KBox<T>>) -> Installed<T> {
        self.0.store(ptr::from_ref(&*value).cast_mut(), Release);
        Installed {
            at: self,
            _value: value,
        }
    }
}

/// What the hooks of a room work on: they do not find it any more when this is dropped.
pub(crate) struct Installed<T: 'static> {
    at: &'static State<T>,
    _value: Pin<KBox<T>>,
}

impl<T> Drop for Installed<T> {
    fn drop(&mut self) {
        self.at.0.store(ptr::null_mut(), Release);
    }
}
