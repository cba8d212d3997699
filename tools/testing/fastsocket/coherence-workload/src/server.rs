// SPDX-License-Identifier: GPL-2.0

//! A worker: waits with epoll, accepts one connection an event, answers, closes.

use crate::{net, shared::Shared, sys, Kind};
use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd},
};

/// Stands for the listening socket among the descriptors of events.
const LISTENER: u64 = u64::MAX;

const DEVICE: &str = "/dev/fastsocket";

/// The sockets that the workers of `cpus` CPUs listen on: one, or one each.
pub(crate) fn listen(kind: Kind, cpus: u32) -> io::Result<Vec<OwnedFd>> {
    let own = matches!(kind, Kind::Reuseport | Kind::ReuseportCbpf);
    let sockets = (0..if own { cpus } else { 1 })
        .map(|_| net::listen(own))
        .collect::<io::Result<Vec<_>>>()?;
    if kind == Kind::ReuseportCbpf {
        net::steer_by_cpu(&sockets[0])?;
    }
    Ok(sockets)
}

/// Runs the worker of a CPU. Comes back only if something fails.
pub(crate) fn run(kind: Kind, cpu: u32, listeners: &[OwnedFd], shared: &Shared) -> io::Result<()> {
    let result = work(kind, cpu, listeners, shared);
    shared.fail();
    result
}

fn work(kind: Kind, cpu: u32, listeners: &[OwnedFd], shared: &Shared) -> io::Result<()> {
    sys::pin(cpu)?;
    let listener = listeners.get(cpu as usize).unwrap_or(&listeners[0]);
    if kind == Kind::Fastsocket {
        let device = File::options().read(true).write(true).open(DEVICE);
        let device = device.map_err(|error| io::Error::other(format!("{DEVICE}: {error}")))?;
        sys::spawn_listen(&device, listener, cpu)?;
    }
    for other in listeners
        .iter()
        .filter(|other| !std::ptr::eq(*other, listener))
    {
        // The process ends without dropping any of them.
        sys::close(other.as_raw_fd())?;
    }
    let epoll = sys::epoll()?;
    sys::epoll_add(
        &epoll,
        listener,
        libc::EPOLLIN | libc::EPOLLEXCLUSIVE,
        LISTENER,
    )?;
    shared.ready.add()?;
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
    loop {
        for event in sys::epoll_wait(&epoll, &mut events)? {
            match event.u64 {
                LISTENER => {
                    let Some(connection) = net::accept(listener)? else {
                        continue;
                    };
                    let fd = connection.as_raw_fd();
                    sys::epoll_add(&epoll, &connection, libc::EPOLLIN, fd as u64)?;
                    // Held by the event from here on.
                    let _ = connection.into_raw_fd();
                }
                fd => answer(fd as i32)?,
            }
        }
    }
}

fn answer(fd: i32) -> io::Result<()> {
    // SAFETY: of an event of a connection, which has one until it is closed here.
    let connection = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut request = [0; 2 * net::REQUEST];
    match net::receive(&connection, &mut request)? {
        Some(net::REQUEST) => net::send(&connection, &[b'!'; net::ANSWER]),
        None => {
            // No event of ours; it will come.
            let _ = connection.into_raw_fd();
            Ok(())
        }
        Some(n) => Err(io::Error::other(format!("a request of {n} bytes"))),
    }
}
