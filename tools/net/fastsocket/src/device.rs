// SPDX-License-Identifier: GPL-2.0

//! `/dev/fastsocket`, and what its errors mean to an administrator.

use crate::sys;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;

/// Where the device is.
pub(crate) const PATH: &str = "/dev/fastsocket";

const SPAWN_MODE: &str = "/sys/module/fastsocket/parameters/enable_listen_spawn";

/// The open device. What [`Device::run`] has begun ends when it is closed.
pub(crate) struct Device(OwnedFd);

impl Device {
    /// Opens it, close-on-exec, and not as one of the standard descriptors.
    pub(crate) fn open() -> Result<Self, Error> {
        let file = File::open(PATH).map_err(Error::Open)?;
        if !file
            .metadata()
            .map_err(Error::Open)?
            .file_type()
            .is_char_device()
        {
            return Err(Error::Open(io::Error::from_raw_os_error(libc::ENODEV)));
        }
        sys::not_standard(file.as_fd())
            .map(Self)
            .map_err(Error::Open)
    }

    /// Spawns the sockets on which this process and its descendants begin to
    /// listen, and those that it was given listening.
    pub(crate) fn run(&self) -> Result<(), Error> {
        sys::command(self.0.as_fd(), fsocket_sys::RUN).map_err(Error::Command)?;
        sys::command(self.0.as_fd(), fsocket_sys::SPAWN_ALL_LISTEN).map_err(Error::Command)
    }

    /// Marks `address`.
    pub(crate) fn mark(&self, address: &SocketAddr) -> io::Result<()> {
        sys::command_at(self.0.as_fd(), fsocket_sys::MARK, address)
    }

    /// Takes the mark of `address` back.
    pub(crate) fn unmark(&self, address: &SocketAddr) -> io::Result<()> {
        sys::command_at(self.0.as_fd(), fsocket_sys::UNMARK, address)
    }

    /// Its descriptor, to leave that one open.
    pub(crate) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Why Fastsocket cannot be had.
#[derive(Debug)]
pub(crate) enum Error {
    /// open(2) failed.
    Open(io::Error),
    /// A command failed.
    Command(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, error, hint) = match self {
            Self::Open(error) => ("open", error, hint_to_open(error)),
            Self::Command(error) => ("use", error, hint(error)),
        };
        write!(f, "cannot {what} {PATH}: {error}")?;
        if !hint.is_empty() {
            write!(f, ": {hint}")?;
        }
        Ok(())
    }
}

fn hint_to_open(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => "load the module: modprobe fastsocket",
        Some(libc::EACCES | libc::EPERM) => "the device's mode keeps this user out",
        _ => "",
    }
}

/// What to do about an error of a command; empty if the error says it all.
pub(crate) fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) if switched_off() => {
            "the module is loaded with enable_listen_spawn=0, which switches it off"
        }
        Some(libc::EPERM) => "it needs CAP_NET_ADMIN in this network namespace",
        Some(libc::ENOTTY) => "the module that is loaded is older than this command",
        Some(libc::ENOSPC) => "this network namespace has as many marks as it may",
        Some(libc::EAFNOSUPPORT) => "the kernel is without IPv6",
        _ => "",
    }
}

fn switched_off() -> bool {
    fs::read_to_string(SPAWN_MODE).is_ok_and(|mode| mode.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        for (error, hint) in [
            (Error::Open as fn(_) -> _, (libc::ENOENT, "modprobe")),
            (Error::Open, (libc::ENODEV, "modprobe")),
            (Error::Open, (libc::EACCES, "mode")),
            (Error::Command, (libc::ENOTTY, "older")),
        ] {
            let text = error(io::Error::from_raw_os_error(hint.0)).to_string();
            assert!(text.contains(hint.1) && text.contains(PATH), "{text}");
        }
        let text = Error::Open(io::Error::from_raw_os_error(libc::EMFILE)).to_string();
        assert!(text.ends_with("(os error 24)"), "{text}");
    }
}
