// SPDX-License-Identifier: GPL-2.0

//! Threads of a task that is bound to one CPU, and every way to leave them.

use crate::{expect, pin, reason, Outcome};
use std::ffi::c_void;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

type Routine = extern "C" fn(*mut c_void) -> *mut c_void;

const ROUNDS: usize = 200;

extern "C" fn returns(arg: *mut c_void) -> *mut c_void {
    arg
}

extern "C" fn exits(arg: *mut c_void) -> *mut c_void {
    // SAFETY: no frame of this thread owns anything.
    unsafe { libc::pthread_exit(arg) }
}

extern "C" fn waits(_: *mut c_void) -> *mut c_void {
    loop {
        // SAFETY: a cancellation point, in a frame that owns nothing.
        unsafe { libc::pause() };
    }
}

/// Return, `pthread_exit` and cancellation: each thread's value arrives and
/// no memory stays behind.
pub(crate) fn leave_every_way() -> Outcome {
    pin()?;
    round()?;
    let before = mappings()?;
    for _ in 0..ROUNDS {
        round()?;
    }
    // The C library may keep a stack or an arena more or less.
    let after = mappings()?;
    if after > before + 8 {
        return Err(format!("{before} mappings became {after}"));
    }
    Ok(())
}

fn round() -> Outcome {
    let value = ptr::without_provenance_mut(0x1234);
    expect("returned", run(returns, value, false)?, value)?;
    expect("exited", run(exits, value, false)?, value)?;
    // PTHREAD_CANCELED
    let cancelled = ptr::without_provenance_mut(usize::MAX);
    expect("cancelled", run(waits, value, true)?, cancelled)
}

fn run(routine: Routine, arg: *mut c_void, cancel: bool) -> Result<*mut c_void, String> {
    let mut result = ptr::null_mut();
    // SAFETY: the routines match; the thread is joined once.
    unsafe {
        let mut thread = 0;
        expect(
            "create",
            libc::pthread_create(&mut thread, ptr::null(), routine, arg),
            0,
        )?;
        if cancel {
            expect("cancel", libc::pthread_cancel(thread), 0)?;
        }
        expect("join", libc::pthread_join(thread, &mut result), 0)?;
    }
    Ok(result)
}

fn mappings() -> Result<usize, String> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(reason)?;
    Ok(maps.lines().count())
}

extern "C" fn cancelled_listener(done: *mut c_void) -> *mut c_void {
    // SAFETY: the frame owns nothing; `done` is the creator's live integer.
    unsafe {
        libc::pthread_cancel(libc::pthread_self());
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        *done.cast::<i32>() = if libc::listen(fd, 1) == 0 { fd } else { -1 };
        libc::pause();
    }
    done
}

/// A thread with a cancellation pending gets through `listen`.
pub(crate) fn listen_is_no_cancellation_point() -> Outcome {
    let mut fd: i32 = -1;
    run(cancelled_listener, (&raw mut fd).cast(), false)?;
    if fd < 0 {
        return Err("cancelled in listen".into());
    }
    // SAFETY: opened by the thread, which is gone.
    let listener = TcpListener::from(unsafe { OwnedFd::from_raw_fd(fd) });
    listener.local_addr().map(|_| ()).map_err(reason)
}
