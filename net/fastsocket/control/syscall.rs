// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! The system calls that commands of the device stand for.

use kernel::{bindings, error::to_result, prelude::*};

/// Makes a number of what a C function returns: a negative one is an error.
fn to_number(value: i32) -> Result<i32> {
    to_result(value).map(|()| value)
}

/// `socket(2)`.
pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> Result<i32> {
    // SAFETY: It checks its arguments, as the others do.
    to_number(unsafe { bindings::fastsocket_sys_socket(family, kind, protocol) })
}

/// `listen(2)`.
pub(crate) fn listen(fd: i32, backlog: i32) -> Result<i32> {
    // SAFETY: As above.
    to_number(unsafe { bindings::fastsocket_sys_listen(fd, backlog) })
}

/// `accept4(2)`, with user addresses.
pub(crate) fn accept4(fd: i32, addr: usize, len: usize, flags: i32) -> Result<i32> {
    // SAFETY: As above; user addresses are checked when they are used.
    let fd = unsafe { bindings::fastsocket_sys_accept4(fd, addr as *mut _, len as *mut _, flags) };
    to_number(fd)
}

/// `shutdown(2)`.
pub(crate) fn shutdown(fd: i32, how: i32) -> Result<i32> {
    // SAFETY: As above.
    to_number(unsafe { bindings::fastsocket_sys_shutdown(fd, how) })
}

/// `close(2)`.
pub(crate) fn close(fd: u32) -> Result<i32> {
    // SAFETY: As above. If the descriptor is that of the device, its file goes when the system call
    // that this is part of returns.
    to_number(unsafe { bindings::fastsocket_sys_close(fd) })
}

/// `epoll_ctl(2)`, with a user address.
pub(crate) fn epoll_ctl(epfd: i32, op: i32, fd: i32, event: usize) -> Result<i32> {
    // SAFETY: As above.
    to_number(unsafe { bindings::fastsocket_sys_epoll_ctl(epfd, op, fd, event as *mut _) })
}
