// SPDX-License-Identifier: GPL-2.0

//! Signals, which are waited for and never handled: no code runs at a moment
//! that it did not choose.

use crate::sys::check;
use std::io;
use std::mem::zeroed;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// Blocked signals.
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks `signals` in this process and its future children.
    pub(crate) fn block(signals: &[i32]) -> io::Result<Self> {
        // SAFETY: the set is initialised before it is used.
        unsafe {
            let mut set: libc::sigset_t = zeroed();
            libc::sigemptyset(&mut set);
            for &signal in signals {
                check(libc::sigaddset(&mut set, signal))?;
            }
            check(libc::sigprocmask(libc::SIG_BLOCK, &set, ptr::null_mut()))?;
            Ok(Self(set))
        }
    }

    /// Waits for one of them; `None` if none came in time.
    pub(crate) fn wait(&self, time: Duration) -> Option<i32> {
        let time = libc::timespec {
            tv_sec: time.as_secs() as libc::time_t,
            tv_nsec: time.subsec_nanos().into(),
        };
        // SAFETY: both structures live.
        let signal = unsafe { libc::sigtimedwait(&self.0, ptr::null_mut(), &time) };
        (signal > 0).then_some(signal)
    }
}

/// A descriptor that is readable when one of the blocked `signals` is pending.
pub(crate) fn descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    let signals = Signals::block(signals)?;
    // SAFETY: an initialised set; the new descriptor is owned by nobody else.
    unsafe {
        let fd = check(libc::signalfd(
            -1,
            &signals.0,
            libc::SFD_NONBLOCK | libc::SFD_CLOEXEC,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}
