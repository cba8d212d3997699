// SPDX-License-Identifier: GPL-2.0

//! What a connection can be, and what all of them need of their worker.

use crate::args::Args;
use crate::epoll::Epoll;
use crate::farewell::Farewell;
use crate::log;
use crate::relay::Relay;
use crate::server::Server;
use crate::slab::Key;
use crate::stats::Counters;
use std::io;
use std::time::{Duration, Instant};

/// Without anything happening, a connection is ended after this.
pub(crate) const IDLE: Duration = Duration::from_secs(60);

/// The worker, as its connections see it.
pub(crate) struct Context {
    pub(crate) epoll: Epoll,
    pub(crate) args: Args,
    pub(crate) counters: &'static Counters,
    /// The worker's number.
    pub(crate) index: usize,
    /// When the events that are being handled came.
    pub(crate) now: Instant,
    /// Room to read into; between two events it holds nothing.
    pub(crate) scratch: Box<[u8]>,
    /// Room to write responses together in; as `scratch`.
    pub(crate) output: Vec<u8>,
    /// The worker has been told to end.
    pub(crate) stopping: bool,
}

impl Context {
    /// Says what happens, with -d.
    pub(crate) fn debug(&self, what: std::fmt::Arguments<'_>) {
        if self.args.debug {
            log::line(format_args!("worker {}", self.index), what);
        }
    }
}

/// Which end of a relayed connection an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one that was accepted.
    Client,
    /// The one that was opened.
    Backend,
}

/// What an event of a connection carries: bit 63 stays clear.
pub(crate) fn token(key: Key, side: Side) -> u64 {
    u64::from(key.generation) << 33 | u64::from(key.index) << 1 | u64::from(side == Side::Backend)
}

/// The inverse of [`token`].
pub(crate) fn from_token(token: u64) -> (Key, Side) {
    let key = Key {
        index: (token >> 1) as u32,
        generation: (token >> 33) as u32,
    };
    let side = if token & 1 == 0 {
        Side::Client
    } else {
        Side::Backend
    };
    (key, side)
}

/// A connection, in one of its states.
pub(crate) enum Conn {
    /// Requests are answered here.
    Server(Server),
    /// Bytes go to and from a backend.
    Relay(Box<Relay>),
    /// The last bytes leave.
    Farewell(Farewell),
}

/// What a connection becomes: `None` if it is over.
pub(crate) type Next = io::Result<Option<Conn>>;

impl Conn {
    /// Something happened to it.
    pub(crate) fn ready(self, side: Side, events: u32, cx: &mut Context) -> Next {
        match self {
            Conn::Server(server) => server.ready(cx),
            Conn::Relay(relay) => relay.ready(side, events, cx),
            Conn::Farewell(farewell) => farewell.ready(cx),
        }
    }

    /// Nothing happened to it for too long.
    pub(crate) fn expired(self, cx: &mut Context) -> Next {
        cx.counters.timeouts.add(1);
        match self {
            Conn::Relay(relay) => relay.expired(cx),
            Conn::Server(_) | Conn::Farewell(_) => Ok(None),
        }
    }

    /// When that will be.
    pub(crate) fn deadline(&self) -> Instant {
        match self {
            Conn::Server(server) => server.deadline,
            Conn::Relay(relay) => relay.deadline,
            Conn::Farewell(farewell) => farewell.deadline,
        }
    }

    /// Whether it only waits for a request that may never come.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self, Conn::Server(server) if server.is_idle())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::GENERATION_BITS;

    #[test]
    fn tokens() {
        for side in [Side::Client, Side::Backend] {
            for (index, generation) in [(0, 0), (u32::MAX, (1 << GENERATION_BITS) - 1), (5, 7)] {
                let key = Key { index, generation };
                assert_eq!(from_token(token(key, side)), (key, side));
                assert_eq!(token(key, side) >> 63, 0);
            }
        }
    }
}
