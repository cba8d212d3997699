// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2025 The Fastsocket authors.

//! Files whose content is made when they are read.
//!
//! C header: [`include/linux/seq_file.h`](srctree/include/linux/seq_file.h)
//!
//! Reference: <https://docs.kernel.org/filesystems/seq_file.html>

use crate::{bindings, types::Opaque};
use core::fmt;

/// What a function that shows something writes to.
///
/// Writing never fails as far as the writer can see: if the buffer is too small, the kernel calls
/// the function again with a larger one. So the same function may be called more than once for one
/// read.
///
/// # Invariants
///
/// It is the `struct seq_file` of a file that is being read, by the task that has the reference: it is
/// neither `Send` nor `Sync`, as the pointers in it are not.
#[repr(transparent)]
pub struct SeqFile(Opaque<bindings::seq_file>);

impl SeqFile {
    /// Makes a reference of a pointer.
    ///
    /// # Safety
    ///
    /// For the duration of `'a`, `ptr` must be what the kernel gave to a `show` function that has
    /// not returned, and be used by nobody else.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::seq_file) -> &'a Self {
        // SAFETY: `Self` is transparent, and the rest is by the safety requirements.
        unsafe { &*ptr.cast() }
    }

    /// Writes formatted text. [`seq_print!`] calls it.
    #[inline]
    pub fn call_printf(&self, args: fmt::Arguments<'_>) {
        // SAFETY: The pointer is valid by the type invariants, and `%pA` takes `fmt::Arguments`.
        unsafe {
            bindings::seq_printf(
                self.0.get(),
                crate::c_str!("%pA").as_char_ptr(),
                core::ptr::from_ref(&args).cast::<crate::ffi::c_void>(),
            );
        }
    }
}

/// Writes formatted text to a [`SeqFile`](crate::seq_file::SeqFile).
///
/// The first argument is the file, the others are those of [`core::format_args!`].
///
/// # Examples
///
/// ```
/// use kernel::seq_file::{seq_print, SeqFile};
///
/// fn show(m: &SeqFile) -> Result {
///     seq_print!(m, "{:<8}{:>12}\n", "cpu", 0);
///     Ok(())
/// }
/// # let _ = show;
/// ```
#[macro_export]
macro_rules! seq_print {
    ($file:expr, $($arg:tt)+) => {
        $file.call_printf(::core::format_args!($($arg)+))
    };
}
pub use seq_print;
