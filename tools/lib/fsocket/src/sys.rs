// SPDX-License-Identifier: GPL-2.0

//! The system calls that the hooks need, without the C library's wrappers.
//!
//! `syscall()` is no cancellation point, takes no lock and allocates nothing.

use core::ffi::{c_int, c_long, c_ulong, c_void, CStr};
use core::mem::{size_of, MaybeUninit};
use core::ptr;
use fsocket_sys::IoctlArg;

/// An error number, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) c_int);

/// The caller's `errno`, put back when this is dropped.
pub(crate) struct SavedErrno(c_int);

impl SavedErrno {
    pub(crate) fn new() -> Self {
        Self(errno())
    }

    /// Lets the caller see `error` instead.
    pub(crate) fn fail(mut self, error: Errno) {
        self.0 = error.0;
    }
}

impl Drop for SavedErrno {
    fn drop(&mut self) {
        // SAFETY: the location is the calling thread's own and always valid.
        unsafe { *libc::__errno_location() = self.0 };
    }
}

fn errno() -> c_int {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() }
}

fn check(result: c_long) -> Result<c_long, Errno> {
    if result == -1 {
        Err(Errno(errno()))
    } else {
        Ok(result)
    }
}

/// listen(2).
pub(crate) fn listen(fd: c_int, backlog: c_int) -> Result<(), Errno> {
    // SAFETY: integers alone.
    check(unsafe { libc::syscall(libc::SYS_listen, fd, backlog) }).map(|_| ())
}

/// prctl(2).
pub(crate) fn prctl(option: c_int, args: [c_ulong; 4]) -> Result<c_int, Errno> {
    let [a, b, c, d] = args;
    // SAFETY: the arguments are the program's own, as it would have given them to the kernel.
    check(unsafe { libc::syscall(libc::SYS_prctl, option, a, b, c, d) })
        .map(|result| result as c_int)
}

/// Opens a character device for reading, so that no terminal, pipe or plain
/// file of that name is taken for it or waited for.
pub(crate) fn open_device(path: &CStr) -> Result<c_int, Errno> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK;
    // SAFETY: `path` ends with NUL; no mode is read without O_CREAT.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags) })?
            as c_int;
    if is_character_device(fd) {
        return Ok(fd);
    }
    close(fd);
    Err(Errno(libc::ENODEV))
}

fn is_character_device(fd: c_int) -> bool {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the C library's fstat writes one whole `stat` and is no
    // cancellation point; zeros are a valid `stat` should it fail.
    let stat = unsafe {
        libc::fstat(fd, stat.as_mut_ptr());
        stat.assume_init()
    };
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR
}

/// close(2), of a descriptor that we opened.
pub(crate) fn close(fd: c_int) {
    // SAFETY: the callers own `fd`.
    unsafe { libc::syscall(libc::SYS_close, fd) };
}

/// ioctl(2) with a command of `/dev/fastsocket`, again when interrupted.
pub(crate) fn ioctl(fd: c_int, command: u32, arg: &IoctlArg) -> Result<(), Errno> {
    loop {
        // SAFETY: the kernel reads one `IoctlArg`; its pointers are null.
        let result =
            check(unsafe { libc::syscall(libc::SYS_ioctl, fd, command, ptr::from_ref(arg)) });
        if result != Err(Errno(libc::EINTR)) {
            return result.map(|_| ());
        }
    }
}

/// An option of a socket whose value is an int; `None` if it has no such
/// option or is no socket.
pub(crate) fn socket_option(fd: c_int, name: c_int) -> Option<c_int> {
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to live locals, `len` says how much fits.
    check(unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            fd,
            libc::SOL_SOCKET,
            name,
            &raw mut value,
            &raw mut len,
        )
    })
    .ok()
    .map(|_| value)
}

/// The process ID.
pub(crate) fn pid() -> u32 {
    // SAFETY: no arguments.
    unsafe { libc::syscall(libc::SYS_getpid) as u32 }
}

/// Whether writing to `fd` would succeed at once, without a signal.
pub(crate) fn is_writable(fd: c_int) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLOUT,
        revents: 0,
    };
    let at_once = [0u64; 2];
    // SAFETY: one pollfd, a time-out of zeros in any of the kernel's layouts,
    // no signal mask.
    let ready = check(unsafe {
        libc::syscall(
            libc::SYS_ppoll,
            &raw mut poll,
            1,
            at_once.as_ptr(),
            ptr::null::<c_void>(),
            0,
        )
    });
    ready == Ok(1) && poll.revents == libc::POLLOUT
}

/// write(2), best effort.
pub(crate) fn write(fd: c_int, text: &[u8]) {
    // SAFETY: `text` is valid for its length.
    unsafe { libc::syscall(libc::SYS_write, fd, text.as_ptr(), text.len()) };
}

/// Ends the process without running anything of the program's.
pub(crate) fn exit(status: c_int) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(status) }
}
