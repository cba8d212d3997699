// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2025 The Fastsocket authors.

//! Files in the `/proc/net` of each network namespace.
//!
//! They belong to data that each namespace has its own of, and are made and removed with it: see
//! [`PerNet::PROC_FILES`].
//!
//! C header: [`include/linux/proc_fs.h`](srctree/include/linux/proc_fs.h)

use super::namespace::{Namespace, PerNet};
use crate::{error::Result, seq_file::SeqFile, str::CStr};

#[cfg(CONFIG_PROC_FS)]
use super::namespace::shown;
#[cfg(CONFIG_PROC_FS)]
use crate::{
    bindings,
    error::{code::*, from_result},
    ffi::{c_int, c_void},
};

/// Writes the content of a file for a namespace and its data.
///
/// Called in process context, by whoever reads the file, at any time and more than once. It may
/// sleep.
pub type Show<T> = fn(&T, &Namespace, &SeqFile) -> Result;

/// A file in `/proc/net` that all may read, whose content comes from data of type `T`.
#[cfg_attr(not(CONFIG_PROC_FS), allow(dead_code))]
pub struct File<T: 'static> {
    name: &'static CStr,
    show: Show<T>,
}

impl<T> File<T> {
    /// Describes a file.
    pub const fn new(name: &'static CStr, show: Show<T>) -> Self {
        Self { name, show }
    }
}

/// Makes the files of a namespace: all, or none if it fails.
///
/// The data must be there already.
///
/// # Errors
///
/// `ENOMEM`, also if there is a file of such a name.
#[cfg(CONFIG_PROC_FS)]
pub(super) fn create_all<T: PerNet>(net: &Namespace) -> Result {
    for (i, file) in T::PROC_FILES.iter().enumerate() {
        // SAFETY: The name and the description are `'static`; `remove_all` removes the file before
        // the namespace or this code goes away.
        let entry = unsafe {
            bindings::proc_create_net_single(
                file.name.as_char_ptr(),
                0o444,
                (*net.as_ptr()).proc_net,
                Some(show::<T>),
                // CAST: It is only ever used as a shared reference.
                core::ptr::from_ref(file).cast_mut().cast(),
            )
        };
        if entry.is_null() {
            remove_all::<T>(net, i);
            return Err(ENOMEM);
        }
    }
    Ok(())
}

/// Removes the first `count` files of a namespace, after waiting for those who are reading them.
#[cfg(CONFIG_PROC_FS)]
pub(super) fn remove_all<T: PerNet>(net: &Namespace, count: usize) {
    for file in T::PROC_FILES.iter().take(count).rev() {
        // SAFETY: The file was made by `create_all`.
        unsafe { bindings::remove_proc_entry(file.name.as_char_ptr(), (*net.as_ptr()).proc_net) };
    }
}

/// Without procfs there are no files to make.
#[cfg(not(CONFIG_PROC_FS))]
pub(super) fn create_all<T: PerNet>(_net: &Namespace) -> Result {
    Ok(())
}

/// Without procfs there are no files to remove.
#[cfg(not(CONFIG_PROC_FS))]
pub(super) fn remove_all<T: PerNet>(_net: &Namespace, _count: usize) {}

/// Called when one of the files is read.
///
/// # Safety
///
/// `m` must be that of a file that [`create_all`] made for `T`.
#[cfg(CONFIG_PROC_FS)]
unsafe extern "C" fn show<T: PerNet>(m: *mut bindings::seq_file, _: *mut c_void) -> c_int {
    // SAFETY: The open file holds a reference to its namespace, which is the private data.
    let net = unsafe { Namespace::from_raw((*m).private.cast()) };
    // SAFETY: The file is open, and its inode that of the entry, whose data is its private data.
    let data = unsafe { (*(*(*m).file).f_inode).i_private };
    // SAFETY: It is what `create_all` gave.
    let file = unsafe { &*data.cast::<File<T>>() };
    // SAFETY: `m` is for this function until it returns.
    let m = unsafe { SeqFile::from_raw(m) };

    from_result(|| {
        // SAFETY: A file of `T` is being shown until this returns.
        let data = unsafe { shown::<T>(net) }.ok_or(ENXIO)?;
        (file.show)(data, net, m)?;
        Ok(0)
    })
}
