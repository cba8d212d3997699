// SPDX-License-Identifier: GPL-2.0

//! A client: as many connections at a time as it is to have, each followed by another one
//! when it is answered, until the window ends.

use crate::{
    case::{Case, Clients},
    measure::{self, Shared},
    proxy,
};
use fastsocket_guest::{
    net::{self, ANSWER, REQUEST},
    sys,
};
use std::{io, net::IpAddr, os::fd::OwnedFd};

/// Where servers listen.
pub(crate) const PORT: u16 = 8080;

/// When what is counted begins and ends, after clients began, in nanoseconds.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// How long after the end of the window an answer may come, in nanoseconds.
const PATIENCE: u64 = 3_000_000_000;

/// Runs the client of a CPU. If it goes by a proxy, that measures how long it takes.
pub(crate) fn run(cpu: u32, case: &Case, window: Window, shared: &Shared) -> io::Result<()> {
    let result = work(cpu, case, window, shared);
    if result.is_err() {
        shared.fail();
    }
    result
}

fn work(cpu: u32, case: &Case, window: Window, shared: &Shared) -> io::Result<()> {
    let at_a_time = (case.at_a_time / case.clients.cpus(case.cpus)).max(1);
    sys::pin(cpu)?;
    shared.ready.add()?;
    shared.begin.wait_for(1)?;
    let began = shared.began();
    let mut client = Client {
        epoll: sys::epoll()?,
        connections: (0..at_a_time).map(|_| None).collect(),
        from: began + window.from,
        to: began + window.to,
        server: case.family.localhost(),
        by_proxy: case.clients == Clients::Proxy,
        shared,
    };
    client.work()?;
    shared.finished.add()
}

/// A connection that has no answer yet.
struct Connection {
    socket: OwnedFd,
    began: u64,
    port: u16,
    got: usize,
}

struct Client<'a> {
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    from: u64,
    to: u64,
    server: IpAddr,
    by_proxy: bool,
    shared: &'a Shared,
}

impl Client<'_> {
    fn work(&mut self) -> io::Result<()> {
        for place in 0..self.connections.len() {
            self.connect(place)?;
        }
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        while self.connections.iter().any(Option::is_some) {
            let left = (self.to + PATIENCE).saturating_sub(measure::now()?);
            if left == 0 {
                break;
            }
            let limit = i32::try_from(left.div_ceil(1_000_000)).unwrap_or(i32::MAX);
            for event in sys::epoll_wait(&self.epoll, &mut events, limit)? {
                let place = event.u64 as usize;
                if event.events & libc::EPOLLOUT as u32 != 0 {
                    self.is_there(place)?;
                } else {
                    self.has_something(place)?;
                }
            }
        }
        // Nobody has answered these.
        for _ in self.connections.iter().flatten() {
            self.shared.failed.count();
        }
        Ok(())
    }

    /// Begins a connection, if there is still time.
    fn connect(&mut self, place: usize) -> io::Result<()> {
        let began = measure::now()?;
        if began >= self.to {
            return Ok(());
        }
        let socket = net::socket(self.server, libc::SOCK_NONBLOCK)?;
        let to = if self.by_proxy { proxy::PORT } else { PORT };
        let is_there = net::connect(&socket, self.server, to)?;
        let port = net::local_port(&socket)?;
        let events = if is_there {
            net::send(&socket, &[b'?'; REQUEST])?;
            libc::EPOLLIN
        } else {
            libc::EPOLLOUT
        };
        sys::epoll_add(&self.epoll, &socket, events, place as u64)?;
        self.connections[place] = Some(Connection {
            socket,
            began,
            port,
            got: 0,
        });
        Ok(())
    }

    /// The connection is there, or has failed.
    fn is_there(&mut self, place: usize) -> io::Result<()> {
        let Some(connection) = &self.connections[place] else {
            return Err(io::Error::other("an event of nothing"));
        };
        if net::send(&connection.socket, &[b'?'; REQUEST]).is_err() {
            return self.ended(place, false);
        }
        sys::epoll_change(&self.epoll, &connection.socket, libc::EPOLLIN, place as u64)
    }

    /// Something has come, or the end.
    fn has_something(&mut self, place: usize) -> io::Result<()> {
        let mut answer = [0; 2 * ANSWER];
        loop {
            let Some(connection) = &mut self.connections[place] else {
                return Err(io::Error::other("an event of nothing"));
            };
            match net::receive(&connection.socket, &mut answer) {
                Ok(Some(0)) => {
                    let all = connection.got == ANSWER;
                    return self.ended(place, all);
                }
                Ok(Some(n)) => connection.got += n,
                Ok(None) => return Ok(()),
                Err(_) => return self.ended(place, false),
            }
        }
    }

    /// The server has closed the connection; the next one begins.
    fn ended(&mut self, place: usize, answered: bool) -> io::Result<()> {
        let Some(Connection { began, port, .. }) = self.connections[place].take() else {
            return Err(io::Error::other("an event of nothing"));
        };
        if answered {
            let now = measure::now()?;
            if (self.from..self.to).contains(&now) {
                self.shared.answered.count();
            }
            if self.by_proxy {
                return self.connect(place);
            }
            let accepted = self.shared.take_accepted(port);
            let accepted =
                accepted.ok_or_else(|| io::Error::other("an answer that nobody has given"))?;
            // Those that end later are as long as they are.
            if began >= self.from {
                self.shared
                    .measured(accepted.saturating_sub(began), now - began)?;
            }
        } else {
            self.shared.take_accepted(port);
            self.shared.failed.count();
        }
        self.connect(place)
    }
}
