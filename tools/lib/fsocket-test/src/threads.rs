// SPDX-License-Identifier: GPL-2.0

//! A thread that is cancelled.

use crate::{expect, reason, Outcome};
use std::ffi::c_void;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

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
    // SAFETY: the routine matches, its argument outlives the thread, and that
    // is joined once.
    unsafe {
        let mut thread = 0;
        let arg = (&raw mut fd).cast();
        let created = libc::pthread_create(&mut thread, ptr::null(), cancelled_listener, arg);
        expect("create", created, 0)?;
        expect("join", libc::pthread_join(thread, ptr::null_mut()), 0)?;
    }
    if fd < 0 {
        return Err("cancelled in listen".into());
    }
    // SAFETY: opened by the thread, which is gone.
    let listener = TcpListener::from(unsafe { OwnedFd::from_raw_fd(fd) });
    listener.local_addr().map(|_| ()).map_err(reason)
}
