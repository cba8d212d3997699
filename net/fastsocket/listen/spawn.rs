// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Making listening sockets ours.
//!
//! To spawn a socket is cheap, can be done any number of times, and binds nobody: a library does it
//! right after `listen(2)`, in a master process that will never accept. Who serves which CPU is decided
//! when a task first waits at the socket ([`Group::enlist`](super::group::Group::enlist)).

use kernel::{cpu::CpuId, cpumask, prelude::*};

use super::{group, slot::Waits, socket::SocketFile};
use crate::{core::log::log, placement::Mode};

/// `FSOCKET_IOC_SPAWN_LISTEN`: `cpu` is the CPU that the caller wants to serve, or negative.
///
/// Process context; sleeps.
///
/// # Errors
///
/// `EPERM` if it is switched off, `EBADF`, `ENOTSOCK`, `EINVAL` if the socket does not listen or the CPU
/// is not to be had, `EOPNOTSUPP` for a socket that cannot be spawned, `ENOMEM`.
pub(crate) fn spawn(fd: u32, cpu: i32) -> Result {
    let file = SocketFile::get(fd)?;
    let wanted = match u32::try_from(cpu) {
        Ok(cpu) => Some(
            CpuId::from_u32(cpu)
                .filter(|cpu| cpumask::is_online(*cpu))
                .ok_or(EINVAL)?,
        ),
        Err(_) => None,
    };

    attach(&file)?;
    if let (Some(group), Some(_)) = (file.group(), wanted) {
        // It says how it waits when it does.
        group.enlist_on(wanted, Waits::Registered)?;
    }
    Ok(())
}

/// `FSOCKET_IOC_SPAWN_ALL_LISTEN`: what the original's library does in a child, after `fork(2)`.
///
/// Process context; sleeps.
///
/// # Errors
///
/// `EPERM` if it is switched off, `ENOMEM`. Sockets that cannot be spawned are passed over.
pub(crate) fn spawn_all() -> Result {
    check_enabled()?;
    let mut fd = 0;
    while let Some(file) = SocketFile::next_listener(&mut fd) {
        match attach(&file) {
            Err(e) if e == ENOMEM => return Err(e),
            _ => fd = fd.wrapping_add(1),
        }
    }
    Ok(())
}

/// Is there spawning at all?
///
/// # Errors
///
/// `EPERM` if not.
pub(crate) fn check_enabled() -> Result {
    if Mode::get() == Mode::Off {
        log!(7, "spawn refused: enable_listen_spawn=0");
        return Err(EPERM);
    }
    Ok(())
}

/// Spawns a socket, unless it is. Process context; sleeps.
///
/// # Errors
///
/// As [`spawn`].
pub(crate) fn attach(file: &SocketFile) -> Result {
    check_enabled()?;
    match group::attach(file) {
        Err(e) if e == EALREADY => Ok(()),
        Err(e) => {
            log!(7, "spawn refused: {:?}", e);
            Err(e)
        }
        Ok(()) => Ok(()),
    }
}
