// SPDX-License-Identifier: GPL-2.0

//! What a worker that was bound to a CPU creates. For a machine with the
//! device and `enable_listen_spawn=2`.

use crate::{expect, reason, Outcome};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::process::Command;

/// A child, a thread and a program that a worker starts may run where it might
/// before it was bound.
pub(crate) fn are_not_inherited() -> Outcome {
    let before = allowed();
    let listener = TcpListener::bind("127.0.0.1:0").map_err(reason)?;
    let mut poll = libc::pollfd {
        fd: listener.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one live pollfd. With a time-out, so that it really waits.
    expect("poll", unsafe { libc::poll(&mut poll, 1, 10) }, 0)?;
    expect("CPUs of a worker", allowed(), 1)?;

    expect("CPUs of a child", in_child(allowed), before)?;
    let of_thread = std::thread::spawn(allowed).join();
    expect("CPUs of a thread", of_thread.ok(), Some(before))?;
    let nproc = Command::new("nproc").output().map_err(reason)?;
    let of_program = String::from_utf8_lossy(&nproc.stdout).into_owned();
    expect("CPUs of a program", of_program.trim(), &before.to_string())?;
    expect("and of the worker", allowed(), 1)
}

/// On how many CPUs the calling thread may run.
fn allowed() -> i32 {
    // SAFETY: zeros are an empty set, and the call stays within its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
        libc::CPU_COUNT(&set)
    }
}

/// What `count` gives in a child: a number that an exit status can be.
fn in_child(count: impl FnOnce() -> i32) -> i32 {
    // SAFETY: one thread; the child makes system calls only and leaves.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let status = count();
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
