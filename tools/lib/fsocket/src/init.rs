// SPDX-License-Identifier: GPL-2.0

//! What happens when the library is loaded.

use crate::device::Device;
use crate::sys::SavedErrno;
use crate::thread::Create;
use crate::{config, pin, sys, warn};
use core::ffi::{c_char, c_void, CStr};
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

extern "C" {
    /// getenv(3) that finds nothing in a set-user-ID program.
    fn secure_getenv(name: *const c_char) -> *const c_char;
}

/// The next `pthread_create` after ours.
static PTHREAD_CREATE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

#[cfg(not(test))]
#[used]
#[link_section = ".init_array"]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    let _errno = SavedErrno::new();
    let _ = next_pthread_create();
    config::set(
        environment(c"FSOCKET_DISABLE"),
        environment(c"FSOCKET_STRICT"),
    );
    if !config::enabled() {
        return;
    }
    // SAFETY: the handler is a function of this library, which is never
    // unloaded. Without memory for it, children start pinned.
    unsafe { libc::pthread_atfork(None, None, Some(pin::after_fork)) };
    adopt();
}

/// Takes over what was inherited through exec(2): listening sockets, and the
/// pin of the task that executed this program. Whether there is either, the
/// kernel finds out faster than we could.
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

/// The function that `pthread_create` in this library stands before. Found in
/// the constructor, or earlier if another library's constructor makes a
/// thread.
pub(crate) fn next_pthread_create() -> Option<Create> {
    let mut address = PTHREAD_CREATE.load(Ordering::Relaxed);
    if address.is_null() {
        // SAFETY: a name that ends with NUL, looked up behind this library.
        address = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) };
        PTHREAD_CREATE.store(address, Ordering::Relaxed);
    }
    // SAFETY: null is `None`; anything else is a `pthread_create`.
    unsafe { mem::transmute::<*mut c_void, Option<Create>>(address) }
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
