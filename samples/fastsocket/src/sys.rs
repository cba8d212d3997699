// SPDX-License-Identifier: GPL-2.0

//! Processes, CPUs and limits.

use std::io;
use std::mem::{size_of, zeroed};

/// The system call's result, or `errno` as an error.
pub(crate) fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// How many CPUs are online.
pub(crate) fn online_cpus() -> u32 {
    // SAFETY: no pointers.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    u32::try_from(count).unwrap_or(1).max(1)
}

/// Binds the calling process to one CPU.
pub(crate) fn bind_to_cpu(cpu: u32) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as u32 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: zeros are an empty set, and `cpu` fits into it.
    check(unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(cpu as usize, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    })
    .map(|_| ())
}

/// The one CPU that a process may run on, if it is one.
pub(crate) fn only_cpu(pid: libc::pid_t) -> Option<usize> {
    // SAFETY: zeros are an empty set; the kernel writes at most its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        check(libc::sched_getaffinity(
            pid,
            size_of::<libc::cpu_set_t>(),
            &mut set,
        ))
        .ok()?;
        set
    };
    // SAFETY: the indexes stay below the size of the set.
    let mut cpus =
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) });
    match (cpus.next(), cpus.next()) {
        (Some(cpu), None) => Some(cpu),
        _ => None,
    }
}

/// Allows as many descriptors as this user may have.
pub(crate) fn raise_descriptor_limit() {
    const PLENTY: libc::rlim_t = 1 << 20;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: live structures of the right type.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return;
        }
        let more = libc::rlimit {
            rlim_cur: limit.rlim_max.max(PLENTY),
            rlim_max: limit.rlim_max.max(PLENTY),
        };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &more) != 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// fork(2), in a process that has one thread: `None` in the child.
pub(crate) fn fork() -> io::Result<Option<libc::pid_t>> {
    // SAFETY: with one thread, the child is a whole copy.
    let pid = check(unsafe { libc::fork() })?;
    Ok((pid != 0).then_some(pid))
}

/// Lets the calling process end when its parent does.
pub(crate) fn die_with(parent: libc::pid_t) -> io::Result<()> {
    // SAFETY: no pointers.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM))?;
        if libc::getppid() != parent {
            return Err(io::Error::other("the master is gone"));
        }
    }
    Ok(())
}

/// A child that has ended, and how; `None` if there is none.
pub(crate) fn reap() -> Option<(libc::pid_t, i32)> {
    let mut status = 0;
    // SAFETY: a live integer.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// kill(2); a process that is gone needs no signal.
pub(crate) fn kill(pid: libc::pid_t, signal: i32) {
    // SAFETY: no pointers.
    unsafe { libc::kill(pid, signal) };
}

/// This process.
pub(crate) fn pid() -> libc::pid_t {
    // SAFETY: no arguments.
    unsafe { libc::getpid() }
}
