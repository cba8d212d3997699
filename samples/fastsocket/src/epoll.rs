// SPDX-License-Identifier: GPL-2.0

//! epoll(7), level-triggered.

use crate::sys::check;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

/// Readable, or at its end.
pub(crate) const IN: u32 = libc::EPOLLIN as u32;
/// Writable.
pub(crate) const OUT: u32 = libc::EPOLLOUT as u32;
/// Wake one waiter, not all.
pub(crate) const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE as u32;

/// An event: which bits, and the number that its descriptor was added with.
pub(crate) type Event = (u32, u64);

/// An epoll instance.
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: the new descriptor is owned by nobody else.
        unsafe {
            let fd = check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?;
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    pub(crate) fn add(&self, fd: &impl AsRawFd, interest: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, interest, token)
    }

    pub(crate) fn modify(&self, fd: &impl AsRawFd, interest: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, interest, token)
    }

    pub(crate) fn delete(&self, fd: &impl AsRawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn control(&self, op: i32, fd: &impl AsRawFd, events: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: a live event.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), op, fd.as_raw_fd(), &mut event) })
            .map(|_| ())
    }

    /// Fills `events` with what is ready, after at most `milliseconds`.
    pub(crate) fn wait(&self, events: &mut Vec<Event>, milliseconds: i32) -> io::Result<()> {
        const BATCH: usize = 256;
        let mut raw = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
        events.clear();
        // SAFETY: room for BATCH events; a null mask changes nothing.
        let result = check(unsafe {
            libc::epoll_pwait(
                self.0.as_raw_fd(),
                raw.as_mut_ptr(),
                BATCH as i32,
                milliseconds,
                ptr::null(),
            )
        });
        match result {
            Ok(count) => events.extend(raw.iter().take(count as usize).map(|e| (e.events, e.u64))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
