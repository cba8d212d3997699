// SPDX-License-Identifier: GPL-2.0

//! `/dev/fastsocket`, open for as long as one command takes.

use crate::sys::{self, Errno};
use core::ffi::{c_int, CStr};
use fsocket_sys::IoctlArg;

/// Where the device is.
pub(crate) const PATH: &CStr = c"/dev/fastsocket";

/// The open device; closed when dropped.
pub(crate) struct Device(c_int);

impl Device {
    /// Opens it. An error says that Fastsocket is not there (or, with a
    /// program that has used up its descriptors, cannot be reached).
    pub(crate) fn open() -> Result<Self, Errno> {
        sys::open_device(PATH).map(Self)
    }

    /// Lets the listening socket `fd` have an accept queue on every CPU, and
    /// the kernel choose who serves which. Refused means plain sockets.
    pub(crate) fn spawn(&self, fd: c_int) {
        let arg = IoctlArg::spawn(fd, -1);
        let _ = sys::ioctl(self.0, fsocket_sys::SPAWN_LISTEN, &arg);
    }

    /// The same for every socket that this process has inherited listening.
    pub(crate) fn spawn_all(&self) {
        let arg = IoctlArg::spawn(-1, -1);
        let _ = sys::ioctl(self.0, fsocket_sys::SPAWN_ALL_LISTEN, &arg);
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        sys::close(self.0);
    }
}

/// Whether `fd` is a socket that the device knows how to spawn.
pub(crate) fn is_tcp(fd: c_int) -> bool {
    sys::socket_option(fd, libc::SO_PROTOCOL) == Some(libc::IPPROTO_TCP)
        && matches!(
            sys::socket_option(fd, libc::SO_DOMAIN),
            Some(libc::AF_INET | libc::AF_INET6)
        )
}
