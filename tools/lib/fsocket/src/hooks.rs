// SPDX-License-Identifier: GPL-2.0

//! The interposed functions: what the program calls.
//!
//! They and `exports.txt` are the whole surface. The compiler checks `listen` against
//! the C library's declaration; that of `prctl` has no fixed number of arguments.

use crate::device::{self, Device};
use crate::sys::{self, Errno, SavedErrno};
use crate::{config, warn};
use core::ffi::{c_int, c_ulong};

const _: [unsafe extern "C" fn(c_int, c_int) -> c_int; 2] = [listen, libc::listen];

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

/// prctl(2). Who puts on a seccomp filter, or prepares for that, is left alone from then on: `listen` then makes no
/// system call but its own, since any other one may end the program.
#[cfg_attr(not(test), no_mangle)]
unsafe extern "C" fn prctl(option: c_int, a: c_ulong, b: c_ulong, c: c_ulong, d: c_ulong) -> c_int {
    let errno = SavedErrno::new();
    match sys::prctl(option, [a, b, c, d]) {
        Ok(result) => {
            if matches!(option, libc::PR_SET_SECCOMP | libc::PR_SET_NO_NEW_PRIVS) {
                config::disable();
            }
            result
        }
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
