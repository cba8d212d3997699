// SPDX-License-Identifier: GPL-2.0

//! System calls that std has no function for.

use libc::{c_int, c_void};
use std::{
    fs::File,
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
    sync::atomic::AtomicU32,
};

/// What a call returned, or its error.
pub fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// How many CPUs are online. They are taken to be the first.
pub fn cpus() -> io::Result<u32> {
    // SAFETY: no memory is passed.
    let n = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    u32::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Keeps the process on one CPU.
pub fn pin(cpu: u32) -> io::Result<()> {
    // SAFETY: an integer array, for which zero is valid; the CPU is one of a
    // machine that has as many.
    check(unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(cpu as usize, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set)
    })?;
    Ok(())
}

/// Runs `child` in a process of its own, which ends when this one does.
pub fn fork(child: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    start(child).map(drop)
}

/// The same, and waits for its end.
pub fn fork_and_wait(child: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let (pid, mut status) = (start(child)?, 0);
    // SAFETY: the status is valid for the call.
    check(unsafe { libc::waitpid(pid, &mut status, 0) })?;
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::other("a process has failed"))
    }
}

fn start(child: impl FnOnce() -> io::Result<()>) -> io::Result<libc::pid_t> {
    // SAFETY: this program has one thread.
    let pid = check(unsafe { libc::fork() })?;
    if pid != 0 {
        return Ok(pid);
    }
    // SAFETY: no memory is passed.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let status = match child() {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("a process has failed: {error}");
            1
        }
    };
    // SAFETY: ends the process; nothing of its parent's is flushed twice.
    unsafe { libc::_exit(status) }
}

/// Has the process use the network namespace that a file stands for.
pub fn enter_network(namespace: &str) -> io::Result<()> {
    let file = File::open(namespace)?;
    // SAFETY: no memory is passed.
    check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) })?;
    Ok(())
}

/// Sleeps until the process is killed.
pub fn sleep() -> ! {
    loop {
        // SAFETY: no memory is passed.
        unsafe { libc::pause() };
    }
}

/// Zeroed memory that children share, for good.
pub fn shared_memory(size: usize) -> io::Result<*mut c_void> {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping.
    let memory = unsafe { libc::mmap(ptr::null_mut(), size, access, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(memory)
}

/// Sleeps while the word is `value`, or not even that long.
pub fn futex_wait(word: &AtomicU32, value: u32) -> io::Result<()> {
    let no_limit = ptr::null::<libc::timespec>();
    // SAFETY: the word is valid for the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            value,
            no_limit,
        )
    };
    match check(result as c_int) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Wakes all who sleep on the word.
pub fn futex_wake(word: &AtomicU32) -> io::Result<()> {
    let wake = libc::FUTEX_WAKE;
    // SAFETY: the word is valid for the call.
    let result = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), wake, c_int::MAX) };
    check(result as c_int)?;
    Ok(())
}

/// Closes a descriptor that the caller owns.
pub fn close(fd: c_int) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::close(fd) })?;
    Ok(())
}

/// A new epoll descriptor.
pub fn epoll() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed; a new descriptor is nobody else's.
    unsafe {
        Ok(OwnedFd::from_raw_fd(check(libc::epoll_create1(
            libc::EPOLL_CLOEXEC,
        ))?))
    }
}

/// Waits for `events` of `fd`.
pub fn epoll_add(epoll: &OwnedFd, fd: &OwnedFd, events: c_int, data: u64) -> io::Result<()> {
    epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, events, data)
}

/// Waits for other events of `fd` from here on.
pub fn epoll_change(epoll: &OwnedFd, fd: &OwnedFd, events: c_int, data: u64) -> io::Result<()> {
    epoll_ctl(epoll, libc::EPOLL_CTL_MOD, fd, events, data)
}

fn epoll_ctl(
    epoll: &OwnedFd,
    what: c_int,
    fd: &OwnedFd,
    events: c_int,
    data: u64,
) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: events as u32,
        u64: data,
    };
    // SAFETY: the event is valid for the call.
    check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), what, fd.as_raw_fd(), &mut event) })?;
    Ok(())
}

/// What has happened, when something has; nothing if nothing has in `limit` milliseconds. If that
/// is negative there is no limit.
pub fn epoll_wait<'a>(
    epoll: &OwnedFd,
    events: &'a mut [libc::epoll_event],
    limit: c_int,
) -> io::Result<&'a [libc::epoll_event]> {
    let room = events.len() as c_int;
    // SAFETY: there is room for as many events.
    let n =
        check(unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), room, limit) })?;
    Ok(&events[..n as usize])
}

/// Gives the listening socket queues on CPUs: on this one, to which the caller is bound then, or on
/// those that the kernel chooses.
pub fn spawn_listen(device: &File, listener: &OwnedFd, cpu: Option<u32>) -> io::Result<()> {
    let cpu = cpu.map_or(-1, |cpu| cpu as i32);
    let mut arg = fsocket_sys::IoctlArg::spawn(listener.as_raw_fd(), cpu);
    let command = fsocket_sys::SPAWN_LISTEN as libc::Ioctl;
    // SAFETY: the argument is the command's, and valid for the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), command, &raw mut arg) })?;
    Ok(())
}

/// The device that commands are given to.
pub fn device() -> io::Result<File> {
    const DEVICE: &str = "/dev/fastsocket";
    let device = File::options().read(true).write(true).open(DEVICE);
    device.map_err(|error| io::Error::new(error.kind(), format!("{DEVICE}: {error}")))
}
