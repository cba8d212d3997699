// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! `/dev/fastsocket`.

use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    cpu::CpuId,
    fs::File,
    miscdevice::{Layout, MiscDevice, MiscDeviceRegistration},
    net::namespace::NamespaceRef,
    prelude::*,
    sync::rcu,
};

use super::{
    mark, process, syscall,
    uapi::{self, Command},
};
use crate::{
    core::log::log,
    core::stats::{Counter, Stats},
    listen::spawn,
};

/// The device. Most commands are about the caller's sockets, whatever open file they come by.
pub(crate) struct Device;

#[vtable]
impl MiscDevice for Device {
    type Ptr = KBox<mark::Holder>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<mark::Holder>> {
        Ok(KBox::new(mark::Holder::new(), GFP_KERNEL_ACCOUNT)?)
    }

    fn ioctl(holder: &mark::Holder, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        command(holder, Layout::Native, cmd, arg)
    }

    fn compat_ioctl(holder: &mark::Holder, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        command(holder, Layout::Compat, cmd, arg)
    }
}

/// Counts an event on this CPU for the network namespace of the current task.
fn count_here(counter: Counter) {
    if let Ok(net) = NamespaceRef::current() {
        Stats::count(&net, CpuId::current(), counter, &rcu::Guard::new());
    }
}

/// Does a command stand for a system call? A task whose system calls are filtered is refused: the filter
/// would not see it.
fn is_system_call(cmd: u32) -> bool {
    matches!(
        cmd,
        uapi::SOCKET
            | uapi::LISTEN
            | uapi::ACCEPT
            | uapi::CLOSE
            | uapi::EPOLL_CTL
            | uapi::SHUTDOWN_LISTEN
    )
}

/// Carries out a command. What stands for a system call is that call, with its checks and errors.
fn command(holder: &mark::Holder, layout: Layout, cmd: u32, arg: usize) -> Result<isize> {
    let read = || Command::read(layout, arg);

    if is_system_call(cmd) && process::is_filtered() {
        log!(7, "command {cmd:#x} refused under a seccomp filter");
        return Err(EPERM);
    }
    let value = match cmd {
        uapi::SOCKET => {
            let (family, kind, protocol) = read()?.socket();
            let fd = syscall::socket(family, kind, protocol)?;
            count_here(Counter::Socket);
            fd
        }
        uapi::LISTEN => {
            let c = read()?;
            syscall::listen(c.fd() as i32, c.backlog())?
        }
        uapi::ACCEPT => {
            let c = read()?;
            let (addr, len, flags) = c.accept();
            syscall::accept4(c.fd() as i32, addr, len, flags)?
        }
        uapi::CLOSE => syscall::close(read()?.fd())?,
        uapi::EPOLL_CTL => {
            let c = read()?;
            let (epfd, op, event) = c.epoll();
            syscall::epoll_ctl(epfd, op, c.fd() as i32, event)?
        }
        uapi::SPAWN_LISTEN => {
            let c = read()?;
            // With a CPU, it is sched_setaffinity(2) as well.
            if c.cpu() >= 0 && process::is_filtered() {
                return Err(EPERM);
            }
            spawn::spawn(c.fd(), c.cpu())?;
            0
        }
        uapi::SHUTDOWN_LISTEN => {
            let c = read()?;
            syscall::shutdown(c.fd() as i32, c.how())?
        }
        uapi::SPAWN_ALL_LISTEN => {
            spawn::spawn_all()?;
            0
        }
        uapi::MARK => {
            let (addr, len) = read()?.mark();
            mark::add(addr, len)?;
            0
        }
        uapi::UNMARK => {
            let (addr, len) = read()?.mark();
            mark::remove(addr, len)?;
            0
        }
        uapi::RUN => {
            holder.run()?;
            0
        }
        _ => return Err(ENOTTY),
    };
    Ok(value as isize)
}
