// SPDX-License-Identifier: GPL-2.0

//! The interposed functions: what the program calls.
//!
//! This list and `exports.txt` are the whole surface. Each hook is checked
//! against the C library's declaration by the compiler.

use crate::device::{self, Device};
use crate::sys::{self, Errno, SavedErrno};
use crate::thread::{self, Create, Routine};
use crate::{config, init, pin, warn};
use core::ffi::{c_int, c_void};

const _: [unsafe extern "C" fn(c_int, c_int) -> c_int; 2] = [listen, libc::listen];
const _: unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Routine,
    *mut c_void,
) -> c_int = libc::pthread_create;
const _: Create = pthread_create;

/// listen(2), and the socket gets an accept queue on every CPU.
#[cfg_attr(not(test), no_mangle)]
unsafe extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    let errno = SavedErrno::new();
    let result = if config::enabled() && device::is_tcp(fd) {
        listen_and_spawn(fd, backlog)
    } else {
        sys::listen(fd, backlog)
    };
    match result {
        Ok(()) => 0,
        Err(error) => {
            errno.fail(error);
            -1
        }
    }
}

/// The device comes first: under `FSOCKET_STRICT` a socket that cannot be
/// spawned must not begin to listen.
fn listen_and_spawn(fd: c_int, backlog: c_int) -> Result<(), Errno> {
    let device = Device::open();
    if let (Err(error), true) = (&device, config::strict()) {
        warn::strict(*error);
        return Err(Errno(libc::ENODEV));
    }
    sys::listen(fd, backlog)?;
    match device {
        Ok(device) => device.spawn(fd),
        Err(error) => warn::plain(error),
    }
    Ok(())
}

/// pthread_create(3), and the thread does not inherit an automatic pin.
#[cfg_attr(not(test), no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attr: *const libc::pthread_attr_t,
    routine: Routine,
    arg: *mut c_void,
) -> c_int {
    let errno = SavedErrno::new();
    let Some(create) = init::next_pthread_create() else {
        return libc::EAGAIN;
    };
    let unpin = config::enabled() && pin::possible();
    drop(errno);
    // SAFETY: the caller keeps to the contract of `pthread_create`, which is
    // that of both.
    unsafe {
        if unpin {
            thread::create_unpinned(create, thread, attr, routine, arg)
        } else {
            create(thread, attr, routine, arg)
        }
    }
}
