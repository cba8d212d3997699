// SPDX-License-Identifier: GPL-2.0

//! What happens when the library is loaded.

use crate::device::Device;
use crate::sys::SavedErrno;
use crate::{config, sys, warn};
use core::ffi::{c_char, CStr};

extern "C" {
    /// getenv(3) that finds nothing in a set-user-ID program.
    fn secure_getenv(name: *const c_char) -> *const c_char;
}

#[cfg(not(test))]
#[used]
#[link_section = ".init_array"]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    let _errno = SavedErrno::new();
    config::set(
        environment(c"FSOCKET_DISABLE"),
        environment(c"FSOCKET_STRICT"),
    );
    if config::enabled() {
        adopt();
    }
}

/// Takes over the listening sockets that were inherited through exec(2).
/// Whether there are any, the kernel finds out faster than we could.
fn adopt() {
    let error = match Device::open() {
        Ok(device) => return device.spawn_all(),
        Err(error) => error,
    };
    let given = config::given_sockets(
        environment(c"LISTEN_PID"),
        environment(c"LISTEN_FDS"),
        sys::pid(),
    );
    match (given, config::strict()) {
        (true, true) => {
            warn::strict(error);
            sys::exit(1);
        }
        (true, false) => warn::plain(error),
        (false, _) => (),
    }
}

/// A variable of the environment.
fn environment(name: &CStr) -> Option<&'static [u8]> {
    // SAFETY: `name` ends with NUL.
    let value = unsafe { secure_getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: the C library gives a string, which nobody changes while the
    // constructor runs, and the constructor does not keep it.
    Some(unsafe { CStr::from_ptr(value) }.to_bytes())
}
