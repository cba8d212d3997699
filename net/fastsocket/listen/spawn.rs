// SPDX-License-Identifier: GPL-2.0

// Copyright (C) 2026 The Fastsocket authors.

//! Making listening sockets ours.
//!
//! To spawn a socket is cheap, can be done any number of times, and binds nobody: a library does it
//! right after `listen(2)`, in a master process that will never accept. Who serves which CPU is decided
//! when a task first waits at the socket ([`Group::enlist`](super::group::Group::enlist)).

use kernel::{
    cpu::CpuId,
    cpumask, new_spinlock,
    prelude::*,
    sync::{rcu, Arc, SpinLock},
};

use super::{group::Group, listener::Listener, reuseport::Peers, slot::Waits, socket::SocketFile};
use crate::{
    core::{
        log::log,
        state::{Installed, State},
        stats::{Counter, Stats},
    },
    placement::Mode,
};

/// One socket is spawned at a time.
#[pin_data]
pub(crate) struct Spawning {
    #[pin]
    one: SpinLock<()>,
}

static SPAWNING: State<Spawning> = State::new();

impl Spawning {
    /// Lets sockets be spawned until what is returned is dropped.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    ///
    /// # Safety
    ///
    /// It must not be dropped while a device is open, or a hook runs that spawns sockets.
    pub(crate) unsafe fn install() -> Result<Installed<Self>> {
        let new = pin_init!(Self {
            one <- new_spinlock!((), "fastsocket::spawning"),
        });
        let new = KBox::pin_init(new, GFP_KERNEL)?;
        // SAFETY: By the safety requirements.
        Ok(unsafe { SPAWNING.install(new) })
    }
}

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
    match attach_group(file) {
        Err(e) if e == EALREADY => Ok(()),
        Err(e) => {
            log!(7, "spawn refused: {:?}", e);
            Err(e)
        }
        Ok(()) => Ok(()),
    }
}

fn attach_group(file: &SocketFile) -> Result {
    let socket = file.listener();
    if file.group().is_some() && socket.is_listening() {
        return Err(EALREADY);
    }
    let spawning = SPAWNING.get()?;
    let lock = socket.lock();
    loop {
        // Memory may be long in coming, and others spawn sockets, too.
        let peers = match sibling_peers(&socket) {
            None => Peers::of(&socket)?,
            theirs => theirs,
        };
        let group = Group::new(socket.clone(), peers)?;
        let _one = spawning.one.lock();
        let is_right = match (group.peers(), sibling_peers(&socket)) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, &theirs),
            (None, Some(_)) => false,
            (_, None) => true,
        };
        if is_right {
            file.attach(&lock, group)?;
            break;
        }
    }
    drop(lock);

    let here = CpuId::current();
    Stats::count(socket.net(), here, Counter::Listen, &rcu::Guard::new());
    Ok(())
}

/// What the spawned members of a socket's SO_REUSEPORT group share.
fn sibling_peers(socket: &Listener) -> Option<Arc<Peers>> {
    let guard = rcu::Guard::new();
    Group::of_sibling(socket, &guard)?.peers().cloned()
}
