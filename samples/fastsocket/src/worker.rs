// SPDX-License-Identifier: GPL-2.0

//! One process, one loop: accept, serve, end.

use crate::args::Args;
use crate::conn::{from_token, token, Conn, Context, Next, Side};
use crate::epoll::{self, Epoll};
use crate::relay::Relay;
use crate::server::Server;
use crate::slab::{Key, Slab};
use crate::stats::Counters;
use crate::watched::Watched;
use crate::{net, signal, sys};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Events that are no connection's have bit 63 set.
const SPECIAL: u64 = 1 << 63;
const SIGNAL: u64 = u64::MAX;

/// Connections accepted at a time: a burst is for all workers.
const ACCEPTS: usize = 16;
/// And before it ends: those who wait, but not all who still come.
const LAST_ACCEPTS: usize = 4096;
/// Once it has been told to end, a worker waits so long for its connections.
const GRACE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_secs(1);

pub(crate) struct Worker {
    cx: Context,
    listeners: Vec<TcpListener>,
    conns: Slab<Conn>,
    signals: OwnedFd,
    /// The listeners are not watched: there was no descriptor left.
    paused: bool,
    next_backend: usize,
    last_tick: Instant,
    stop_at: Option<Instant>,
}

impl Worker {
    /// Prepares worker `index`, in its own process.
    pub(crate) fn new(
        args: &Args,
        index: usize,
        listeners: Vec<TcpListener>,
        counters: &'static Counters,
    ) -> io::Result<Self> {
        if let Some(start) = args.start_cpu {
            let cpu = start.saturating_add(index as u32);
            sys::bind_to_cpu(cpu)
                .map_err(|error| io::Error::other(format!("CPU {cpu}: {error}")))?;
        }
        let signals = signal::descriptor(&[libc::SIGTERM, libc::SIGINT])?;
        let epoll = Epoll::new()?;
        epoll.add(&signals, epoll::IN, SIGNAL)?;
        let now = Instant::now();
        let mut worker = Self {
            cx: Context {
                epoll,
                args: args.clone(),
                counters,
                index,
                now,
                scratch: vec![0; 16 * 1024].into_boxed_slice(),
                output: Vec::new(),
                stopping: false,
            },
            listeners,
            conns: Slab::new(),
            signals,
            paused: true,
            // So that the workers do not all begin with the same.
            next_backend: index,
            last_tick: now,
            stop_at: None,
        };
        worker.resume()?;
        Ok(worker)
    }

    /// Serves until it is told to end.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Vec::new();
        while !self.is_over() {
            let busy = self.conns.len() > 0 || self.paused;
            let time = if busy { TICK.as_millis() as i32 } else { -1 };
            self.cx.epoll.wait(&mut events, time)?;
            self.cx.now = Instant::now();
            for &(bits, number) in &events {
                match number {
                    SIGNAL => self.stop(),
                    special if special & SPECIAL != 0 => {
                        self.accept((special & !SPECIAL) as usize, ACCEPTS)
                    }
                    _ => {
                        let (key, side) = from_token(number);
                        self.step(key, |conn, cx| conn.ready(side, bits, cx));
                    }
                }
            }
            if self.cx.now >= self.last_tick + TICK {
                self.tick()?;
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.stop_at
            .is_some_and(|at| self.conns.len() == 0 || self.cx.now >= at)
    }

    /// Lets a connection go on to its next state.
    fn step(&mut self, key: Key, next: impl FnOnce(Conn, &mut Context) -> Next) {
        if let Some(conn) = self.conns.take(key) {
            let next = next(conn, &mut self.cx);
            self.settle(key, next);
        }
    }

    fn settle(&mut self, key: Key, next: Next) {
        match next {
            Ok(Some(conn)) => return self.conns.put(key, conn),
            Ok(None) => self
                .cx
                .debug(format_args!("connection {} closed", key.index)),
            Err(error) => {
                self.cx.counters.errors.add(1);
                self.cx
                    .debug(format_args!("connection {}: {error}", key.index));
            }
        }
        self.conns.free(key);
        self.cx.counters.closed.add(1);
    }

    fn accept(&mut self, listener: usize, most: usize) {
        for _ in 0..most {
            let Some(listener) = self.listeners.get(listener) else {
                return;
            };
            match net::accept(listener) {
                Ok(stream) => self.open(stream),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return,
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        self.cx.debug(format_args!("accept: {error}"));
                        return self.pause();
                    }
                    // The connection's error, not ours.
                    _ => self.cx.counters.errors.add(1),
                },
            }
        }
    }

    fn open(&mut self, stream: TcpStream) {
        let key = self.conns.reserve();
        self.cx.counters.accepted.add(1);
        self.cx
            .debug(format_args!("connection {} accepted", key.index));
        let backends = self.cx.args.backends.len();
        let next = if backends == 0 {
            Server::begin(Watched::new(stream, token(key, Side::Client)), &mut self.cx)
        } else {
            let backend = self.cx.args.backends[self.next_backend % backends];
            self.next_backend = self.next_backend.wrapping_add(1);
            Relay::begin(stream, key, &backend, &mut self.cx)
        };
        self.settle(key, next);
    }

    /// Leaves new connections to the other workers until the next tick.
    fn pause(&mut self) {
        for listener in &self.listeners {
            let _ = self.cx.epoll.delete(listener);
        }
        self.paused = true;
    }

    fn resume(&mut self) -> io::Result<()> {
        for (index, listener) in self.listeners.iter().enumerate() {
            let interest = epoll::IN | epoll::EXCLUSIVE;
            self.cx
                .epoll
                .add(listener, interest, SPECIAL | index as u64)?;
        }
        self.paused = false;
        Ok(())
    }

    fn tick(&mut self) -> io::Result<()> {
        let now = self.cx.now;
        self.last_tick = now;
        for key in self.conns.keys(|conn| conn.deadline() <= now) {
            self.step(key, Conn::expired);
        }
        if self.paused {
            self.resume()?;
        }
        Ok(())
    }

    /// Takes no new connections, and has the present ones finish.
    fn stop(&mut self) {
        // One signal is enough, and there is no other way back.
        let _ = self.cx.epoll.delete(&self.signals);
        self.cx.stopping = true;
        self.stop_at = Some(self.cx.now + GRACE);
        for index in 0..self.listeners.len() {
            // Those who are in the queue were promised to be served.
            self.accept(index, LAST_ACCEPTS);
        }
        // To close them is not enough: other processes hold them open.
        self.pause();
        self.listeners.clear();
        self.paused = false;
        for key in self.conns.keys(Conn::is_idle) {
            self.step(key, |_, _| Ok(None));
        }
    }
}
