// SPDX-License-Identifier: GPL-2.0

//! Children of a task that is bound to one CPU, as a pinned worker is.

use crate::{expect, pin, reason, Outcome};
use std::net::TcpListener;
use std::sync::atomic::{AtomicI32, Ordering};

/// Many children, each of which has a grandchild.
pub(crate) fn fork_storm() -> Outcome {
    let _listener = TcpListener::bind("127.0.0.1:0").map_err(reason)?;
    pin()?;
    for _ in 0..100 {
        expect("status", fork_and_wait(|| fork_and_wait(|| 7)), 7)?;
    }
    let helper = std::process::Command::new("true")
        .status()
        .map_err(reason)?;
    expect("helper", helper.success(), true)
}

fn fork_and_wait(child: impl FnOnce() -> i32) -> i32 {
    // SAFETY: one thread; the child makes system calls only and leaves.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let status = child();
        // SAFETY: ends the child.
        unsafe { libc::_exit(status) };
    }
    let mut status = 0;
    // SAFETY: our child, and a live integer.
    if unsafe { libc::waitpid(pid, &mut status, 0) } != pid {
        return -1;
    }
    libc::WEXITSTATUS(status)
}

static FROM_HANDLER: AtomicI32 = AtomicI32::new(-2);

extern "C" fn on_signal(_: libc::c_int) {
    FROM_HANDLER.store(fork_and_wait(|| 9), Ordering::Relaxed);
}

/// fork(2) may be called in a signal handler.
pub(crate) fn fork_in_handler() -> Outcome {
    pin()?;
    // SAFETY: the handler makes system calls and stores an integer.
    unsafe {
        libc::signal(libc::SIGUSR1, on_signal as *const () as libc::sighandler_t);
        libc::raise(libc::SIGUSR1);
    }
    expect("status", FROM_HANDLER.load(Ordering::Relaxed), 9)
}
