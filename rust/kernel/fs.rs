// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Open files.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::{bindings, types::Opaque};

/// An open file.
///
/// # Invariants
///
/// It is open for as long as there is a reference.
#[repr(transparent)]
pub struct File(Opaque<bindings::file>);

impl File {
    /// Makes a reference of a pointer.
    ///
    /// # Safety
    ///
    /// The file must be open, or being opened or released, for the duration of `'a`.
    #[inline]
    pub unsafe fn from_raw_file<'a>(ptr: *const bindings::file) -> &'a Self {
        // SAFETY: `Self` is transparent, and the rest is by the safety requirements.
        unsafe { &*ptr.cast() }
    }
}
