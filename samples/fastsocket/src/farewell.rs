// SPDX-License-Identifier: GPL-2.0

//! The end of a connection whose client may still be sending.
//!
//! Closing a socket with unread bytes resets the connection, and a reset
//! destroys what the client has not read yet: the response. So say that
//! nothing more comes, and read until the client has understood.

use crate::conn::{Conn, Context, Next};
use crate::epoll;
use crate::watched::{Moved, Watched};
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// For how long, and for how much, the client's patience is humoured.
const TIME: Duration = Duration::from_secs(2);
const BYTES: usize = 1 << 20;

/// A client that is sent its last bytes.
pub(crate) struct Farewell {
    client: Watched,
    unsent: Vec<u8>,
    shut: bool,
    budget: usize,
    pub(crate) deadline: Instant,
}

impl Farewell {
    /// Sends `last` to the client, and begins to wait.
    pub(crate) fn begin(client: Watched, last: Vec<u8>, cx: &mut Context) -> Next {
        Self {
            client,
            unsent: last,
            shut: false,
            budget: BYTES,
            deadline: cx.now + TIME,
        }
        .ready(cx)
    }

    pub(crate) fn ready(mut self, cx: &mut Context) -> Next {
        if !self.shut {
            let rest = self.client.write_most(&self.unsent)?.len();
            self.unsent.drain(..self.unsent.len() - rest);
            if rest > 0 {
                self.client.want(&cx.epoll, epoll::OUT)?;
                return Ok(Some(Conn::Farewell(self)));
            }
            self.client.stream.shutdown(Shutdown::Write)?;
            self.shut = true;
        }
        match self.client.read(&mut cx.scratch)? {
            Moved::Bytes(count) if count < self.budget => self.budget -= count,
            Moved::Blocked => (),
            Moved::Bytes(_) | Moved::End => return Ok(None),
        }
        self.client.want(&cx.epoll, epoll::IN)?;
        Ok(Some(Conn::Farewell(self)))
    }
}
