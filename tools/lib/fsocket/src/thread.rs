// SPDX-License-Identifier: GPL-2.0

//! The start of a thread whose creator is pinned.
//!
//! What the new thread needs to know goes through a page of its own, taken
//! from the kernel and given back before the program's code runs: nothing to
//! wait for, nothing to lock, and nothing is left when the thread is cancelled
//! or leaves by `pthread_exit`.

use crate::{pin, sys};
use core::ffi::{c_int, c_void};

/// The program's start routine.
pub(crate) type Routine = extern "C" fn(*mut c_void) -> *mut c_void;

/// The C library's `pthread_create`.
pub(crate) type Create = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Routine,
    *mut c_void,
) -> c_int;

struct Start {
    routine: Routine,
    arg: *mut c_void,
}

/// `pthread_create`, with a thread that starts unpinned.
///
/// # Safety
///
/// As `pthread_create`.
pub(crate) unsafe fn create_unpinned(
    create: Create,
    thread: *mut libc::pthread_t,
    attr: *const libc::pthread_attr_t,
    routine: Routine,
    arg: *mut c_void,
) -> c_int {
    let start = sys::map::<Start>();
    if start.is_null() {
        // A thread that is pinned is better than none.
        // SAFETY: the caller's promise.
        return unsafe { create(thread, attr, routine, arg) };
    }
    // SAFETY: `start` is new, writable and aligned.
    unsafe { start.write(Start { routine, arg }) };
    // SAFETY: the caller's promise; `run` takes over `start`.
    let error = unsafe { create(thread, attr, run, start.cast()) };
    if error != 0 {
        // SAFETY: no thread was made that could use it.
        unsafe { sys::unmap(start) };
    }
    error
}

extern "C" fn run(start: *mut c_void) -> *mut c_void {
    let start = start.cast::<Start>();
    // SAFETY: `create_unpinned` wrote it and gave it to this thread alone.
    let Start { routine, arg } = unsafe { start.read() };
    // SAFETY: read above, and not used again.
    unsafe { sys::unmap(start) };
    pin::undo();
    routine(arg)
}
