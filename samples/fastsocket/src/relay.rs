// SPDX-License-Identifier: GPL-2.0

//! A connection that is relayed to a backend, both ways, each at the pace of
//! its slower end, until both ends have said all.

use crate::conn::{token, Conn, Context, Next, Side, IDLE};
use crate::epoll;
use crate::farewell::Farewell;
use crate::net;
use crate::pipe::Pipe;
use crate::server::BAD_GATEWAY;
use crate::slab::Key;
use crate::watched::{Moved, Watched};
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A backend that does not answer in this time cannot be reached.
const CONNECT: Duration = Duration::from_secs(5);

/// Reads of one event; more would let the other connections wait.
const TURNS: usize = 4;

/// One direction.
struct Way {
    pipe: Pipe,
    /// The source has said all.
    ended: bool,
    /// The sink has been told so, or listens no more.
    done: bool,
    /// The sink stopped listening before the source had said all.
    broken: bool,
}

impl Way {
    fn new() -> Self {
        Self {
            pipe: Pipe::new(),
            ended: false,
            done: false,
            broken: false,
        }
    }

    /// Whether the source is to be read.
    fn wants_input(&self) -> bool {
        !self.ended && !self.pipe.is_full()
    }

    /// Whether the sink is to be written.
    fn wants_output(&self) -> bool {
        !self.pipe.is_empty()
    }

    /// Moves what can be moved; `readable`: the source may have something.
    /// Returns how much reached the sink.
    fn pump(
        &mut self,
        from: &mut Watched,
        to: &mut Watched,
        mut readable: bool,
    ) -> io::Result<u64> {
        let mut total = 0;
        for _ in 0..TURNS {
            readable &= self.fill(from, readable)?;
            total += self.flush(to);
            if !readable || self.wants_output() {
                break;
            }
        }
        if self.ended && self.pipe.is_empty() && !self.done {
            self.done = true;
            // If it is not connected any more, the other way will notice.
            let _ = to.stream.shutdown(Shutdown::Write);
        }
        Ok(total)
    }

    /// Returns whether the source may have more.
    fn fill(&mut self, from: &mut Watched, readable: bool) -> io::Result<bool> {
        if !readable || !self.wants_input() {
            return Ok(false);
        }
        match from.read(self.pipe.space())? {
            Moved::Bytes(count) => {
                self.pipe.produce(count);
                return Ok(true);
            }
            Moved::Blocked => (),
            Moved::End => self.ended = true,
        }
        Ok(false)
    }

    /// An error is not one of the connection: the sink may have said all it
    /// wants to say, and gone.
    fn flush(&mut self, to: &mut Watched) -> u64 {
        let mut total = 0;
        while self.wants_output() {
            match to.write(self.pipe.data()) {
                Ok(Moved::Bytes(count)) => {
                    self.pipe.consume(count);
                    total += count as u64;
                }
                Ok(Moved::Blocked) => break,
                Ok(Moved::End) | Err(_) => {
                    self.pipe.clear();
                    self.ended = true;
                    self.done = true;
                    self.broken = true;
                }
            }
        }
        total
    }
}

/// A client and its backend.
pub(crate) struct Relay {
    client: Watched,
    backend: Watched,
    connected: bool,
    /// From the client to the backend.
    up: Way,
    /// From the backend to the client.
    down: Way,
    pub(crate) deadline: Instant,
}

impl Relay {
    /// Begins to connect a client that was just accepted.
    pub(crate) fn begin(client: TcpStream, key: Key, to: &SocketAddr, cx: &mut Context) -> Next {
        let _ = client.set_nodelay(true);
        let client = Watched::new(client, token(key, Side::Client));
        let backend = match net::connect(to) {
            Ok(stream) => Watched::new(stream, token(key, Side::Backend)),
            Err(error) => return unreachable(client, &error, cx),
        };
        let _ = backend.stream.set_nodelay(true);
        let relay = Box::new(Self {
            client,
            backend,
            connected: false,
            up: Way::new(),
            down: Way::new(),
            deadline: cx.now + CONNECT,
        });
        relay.wait(cx)
    }

    pub(crate) fn ready(mut self: Box<Self>, side: Side, events: u32, cx: &mut Context) -> Next {
        if !self.connected && side == Side::Backend {
            match self.backend.stream.take_error()? {
                Some(error) => return unreachable(self.client, &error, cx),
                None if events & epoll::OUT == 0 => return self.wait(cx),
                None => self.connected = true,
            }
        }
        if self.connected {
            self.deadline = cx.now + IDLE;
        }
        // Anything but "writable" shows itself when reading.
        let readable = events & !epoll::OUT != 0;
        match self.pump(side, readable) {
            Ok(bytes) => cx.counters.relayed.add(bytes),
            Err(error) => {
                // Neither end shall take what it has for all.
                net::reset_on_close(&self.client.stream);
                net::reset_on_close(&self.backend.stream);
                return Err(error);
            }
        }
        match (self.up.done && self.down.done, self.up.broken) {
            (false, _) => self.wait(cx),
            (true, false) => Ok(None),
            // The client was not listened to in the end.
            (true, true) => Farewell::begin(self.client, Vec::new(), cx),
        }
    }

    fn pump(&mut self, side: Side, readable: bool) -> io::Result<u64> {
        let from_client = readable && side == Side::Client;
        if !self.connected {
            self.up.fill(&mut self.client, from_client)?;
            return Ok(0);
        }
        let from_backend = readable && side == Side::Backend;
        let up = self
            .up
            .pump(&mut self.client, &mut self.backend, from_client)?;
        let down = self
            .down
            .pump(&mut self.backend, &mut self.client, from_backend)?;
        Ok(up + down)
    }

    fn wait(mut self: Box<Self>, cx: &mut Context) -> Next {
        let client = interest(self.up.wants_input(), self.down.wants_output());
        let backend = match self.connected {
            true => interest(self.down.wants_input(), self.up.wants_output()),
            false => epoll::OUT,
        };
        self.client.want(&cx.epoll, client)?;
        self.backend.want(&cx.epoll, backend)?;
        Ok(Some(Conn::Relay(self)))
    }

    pub(crate) fn expired(self, cx: &mut Context) -> Next {
        if self.connected {
            return Ok(None);
        }
        unreachable(self.client, &io::ErrorKind::TimedOut.into(), cx)
    }
}

fn interest(input: bool, output: bool) -> u32 {
    (if input { epoll::IN } else { 0 }) | (if output { epoll::OUT } else { 0 })
}

fn unreachable(client: Watched, error: &io::Error, cx: &mut Context) -> Next {
    cx.counters.unreachable.add(1);
    cx.debug(format_args!("backend: {error}"));
    Farewell::begin(client, BAD_GATEWAY.into(), cx)
}
