// SPDX-License-Identifier: GPL-2.0

//! A worker: waits with epoll, accepts one connection an event, answers, closes. Or, as
//! a proxy, has the answer from a backend, which is a worker of a port of its own.

use crate::{net, shared::Shared, Args, Kind};
use fastsocket_guest::{
    net::{accept, receive, send, ANSWER, REQUEST},
    sys,
};
use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd},
};

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
pub(crate) fn run(args: &Args, cpu: u32, listeners: &[OwnedFd], shared: &Shared) -> io::Result<()> {
    let result = work(args, cpu, listeners, shared);
    shared.fail();
    result
}

fn work(args: &Args, cpu: u32, listeners: &[OwnedFd], shared: &Shared) -> io::Result<()> {
    sys::pin(cpu)?;
    let listener = listeners.get(cpu as usize).unwrap_or(&listeners[0]);
    if args.kind.is_spawned() {
        sys::spawn_listen(&sys::device()?, listener, Some(cpu))?;
    }
    for other in listeners
        .iter()
        .filter(|other| !std::ptr::eq(*other, listener))
    {
        // The process ends without dropping any of them.
        sys::close(other.as_raw_fd())?;
    }
    Worker {
        cpu,
        listener,
        epoll: sys::epoll()?,
        proxy: args.proxy,
        asks_in: Some(shared),
    }
    .serve(shared)
}

/// Runs the backend of a CPU. Comes back only if something fails.
pub(crate) fn run_backend(cpu: u32, shared: &Shared) -> io::Result<()> {
    let serve = || {
        sys::pin(cpu)?;
        Worker {
            cpu,
            listener: &net::listen_as_backend(cpu)?,
            epoll: sys::epoll()?,
            proxy: false,
            asks_in: None,
        }
        .serve(shared)
    };
    let result = serve();
    shared.fail();
    result
}

/// What an event is for: a descriptor, and for a backend's the client's.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Listener,
    /// A client has sent something.
    Client(i32),
    /// A connection to a backend is there, or has an answer.
    Backend {
        backend: i32,
        client: i32,
    },
}

impl Event {
    const LISTENER: u32 = u32::MAX;

    /// In the 64 bits that epoll gives back. No descriptor of a client is 0.
    fn pack(self) -> u64 {
        match self {
            Self::Listener => Self::LISTENER.into(),
            Self::Client(fd) => fd as u64,
            Self::Backend { backend, client } => (client as u64) << 32 | backend as u64,
        }
    }

    fn unpack(packed: u64) -> Self {
        match ((packed >> 32) as i32, packed as u32) {
            (0, Self::LISTENER) => Self::Listener,
            (0, fd) => Self::Client(fd as i32),
            (client, fd) => Self::Backend {
                backend: fd as i32,
                client,
            },
        }
    }
}

struct Worker<'a> {
    cpu: u32,
    listener: &'a OwnedFd,
    epoll: OwnedFd,
    proxy: bool,
    /// Where it says which connections were received here, as long as clients warm up.
    asks_in: Option<&'a Shared>,
}

impl Worker<'_> {
    fn serve(&self, shared: &Shared) -> io::Result<()> {
        self.add(
            self.listener,
            libc::EPOLLIN | libc::EPOLLEXCLUSIVE,
            Event::Listener,
        )?;
        shared.ready.add()?;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        loop {
            for event in sys::epoll_wait(&self.epoll, &mut events, -1)? {
                match Event::unpack(event.u64) {
                    Event::Listener => self.accept()?,
                    Event::Client(fd) => self.request(held(fd))?,
                    Event::Backend { backend, client } => {
                        let writable = event.events & libc::EPOLLOUT as u32 != 0;
                        self.backend(held(backend), held(client), writable)?;
                    }
                }
            }
        }
    }

    fn add(&self, fd: &OwnedFd, events: i32, event: Event) -> io::Result<()> {
        sys::epoll_add(&self.epoll, fd, events, event.pack())
    }

    fn accept(&self) -> io::Result<()> {
        let Some(client) = accept(self.listener)? else {
            return Ok(());
        };
        if let Some(shared) = self.asks_in.filter(|shared| shared.is_warming_up()) {
            shared.accepted.count();
            if net::incoming_cpu(&client)? == self.cpu {
                shared.accepted_local.count();
            }
        }
        self.add(&client, libc::EPOLLIN, Event::Client(client.as_raw_fd()))?;
        hold(client);
        Ok(())
    }

    /// Something has come from a client.
    fn request(&self, client: OwnedFd) -> io::Result<()> {
        let mut request = [0; 2 * REQUEST];
        match receive(&client, &mut request)? {
            Some(REQUEST) => {}
            Some(n) => return Err(io::Error::other(format!("a request of {n} bytes"))),
            None => {
                // No event of ours; it will come.
                hold(client);
                return Ok(());
            }
        }
        if !self.proxy {
            return send(&client, &[b'!'; ANSWER]);
        }
        let backend = net::connect_to_backend(self.cpu)?;
        let event = Event::Backend {
            backend: backend.as_raw_fd(),
            client: client.as_raw_fd(),
        };
        self.add(&backend, libc::EPOLLOUT, event)?;
        hold(backend);
        hold(client);
        Ok(())
    }

    /// The connection to a backend is there, or has an answer.
    fn backend(&self, backend: OwnedFd, client: OwnedFd, writable: bool) -> io::Result<()> {
        let mut answer = [0; 2 * ANSWER];
        if writable {
            send(&backend, &[b'?'; REQUEST])?;
            let event = Event::Backend {
                backend: backend.as_raw_fd(),
                client: client.as_raw_fd(),
            };
            sys::epoll_change(&self.epoll, &backend, libc::EPOLLIN, event.pack())?;
        } else {
            match receive(&backend, &mut answer)? {
                Some(ANSWER) => return send(&client, &answer[..ANSWER]),
                Some(n) => {
                    return Err(io::Error::other(format!("a backend's answer of {n} bytes")))
                }
                None => {}
            }
        }
        hold(backend);
        hold(client);
        Ok(())
    }
}

/// From here on an event has the descriptor.
fn hold(connection: OwnedFd) {
    let _ = connection.into_raw_fd();
}

/// What an event has: closed when it is dropped.
fn held(fd: i32) -> OwnedFd {
    // SAFETY: of an event, by `hold`; nobody closes it in between.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use super::Event;

    #[test]
    fn an_event_is_what_was_packed() {
        for event in [
            Event::Listener,
            Event::Client(3),
            Event::Client(i32::MAX),
            Event::Backend {
                backend: 0,
                client: 1,
            },
            Event::Backend {
                backend: i32::MAX,
                client: i32::MAX,
            },
        ] {
            assert_eq!(Event::unpack(event.pack()), event);
        }
    }
}
