// SPDX-License-Identifier: GPL-2.0

//! A connection whose requests are answered here: 200, whatever is asked.

use crate::conn::{Conn, Context, Next, IDLE};
use crate::epoll;
use crate::farewell::Farewell;
use crate::head::{self, Parsed};
use crate::watched::{Moved, Watched};
use std::mem;
use std::time::Instant;

macro_rules! head {
    ($connection:literal) => {
        concat!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\nConnection: ",
            $connection,
            "\r\n\r\n"
        )
    };
}

const BODY: &str = "Served by this CPU.\n";
const CLOSE: &str = head!("close");
const KEEP_ALIVE: &str = head!("keep-alive");
const BAD_REQUEST: &str =
    "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const TOO_LARGE: &str =
    "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// What a client is told whose backend cannot be reached.
pub(crate) const BAD_GATEWAY: &str =
    "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

const _: () = assert!(BODY.len() == 20);

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// By closing it: the client has sent all that it will.
    Close,
    /// By waiting until the client has.
    Farewell,
}

/// A client, and what is between two events known of it.
pub(crate) struct Server {
    client: Watched,
    /// The beginning of a head.
    input: Vec<u8>,
    /// The end of the responses.
    unsent: Vec<u8>,
    /// So many bytes of a body are to come.
    skip: u64,
    answered: bool,
    pub(crate) deadline: Instant,
}

impl Server {
    /// A connection that was just accepted.
    pub(crate) fn begin(mut client: Watched, cx: &mut Context) -> Next {
        client.want(&cx.epoll, epoll::IN)?;
        Ok(Some(Conn::Server(Self {
            client,
            input: Vec::new(),
            unsent: Vec::new(),
            skip: 0,
            answered: false,
            deadline: cx.now + IDLE,
        })))
    }

    /// Between two requests.
    pub(crate) fn is_idle(&self) -> bool {
        self.answered && self.input.is_empty() && self.unsent.is_empty() && self.skip == 0
    }

    pub(crate) fn ready(mut self, cx: &mut Context) -> Next {
        self.deadline = cx.now + IDLE;
        if !self.unsent.is_empty() {
            let rest = self.client.write_most(&self.unsent)?.len();
            self.unsent.drain(..self.unsent.len() - rest);
            return self.wait(cx);
        }
        let count = match self.client.read(&mut cx.scratch)? {
            Moved::Bytes(count) => count,
            Moved::Blocked => return self.wait(cx),
            Moved::End => return Ok(None),
        };

        let scratch = mem::take(&mut cx.scratch);
        let end = self.take_in(&scratch[..count], cx);
        cx.scratch = scratch;

        let rest = self.client.write_most(&cx.output)?;
        match end {
            None => {
                self.unsent = rest.to_vec();
                self.wait(cx)
            }
            Some(End::Close) if rest.is_empty() => Ok(None),
            Some(_) => {
                let rest = rest.to_vec();
                Farewell::begin(self.client, rest, cx)
            }
        }
    }

    /// Nothing is read while responses are unsent: the client has to take
    /// them first.
    fn wait(mut self, cx: &mut Context) -> Next {
        let interest = if self.unsent.is_empty() {
            epoll::IN
        } else {
            epoll::OUT
        };
        self.client.want(&cx.epoll, interest)?;
        Ok(Some(Conn::Server(self)))
    }

    /// Answers what `bytes` completes, into the worker's output, and keeps
    /// the rest.
    fn take_in(&mut self, bytes: &[u8], cx: &mut Context) -> Option<End> {
        cx.output.clear();
        if self.input.is_empty() {
            return self.answer(bytes, cx);
        }
        let mut input = mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        self.answer(&input, cx)
    }

    fn answer(&mut self, mut bytes: &[u8], cx: &mut Context) -> Option<End> {
        loop {
            let body = bytes
                .len()
                .min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            bytes = &bytes[body..];
            self.skip -= body as u64;
            let head = match head::parse(bytes) {
                Parsed::Whole(head) => head,
                Parsed::Bad => return self.refuse(BAD_REQUEST, cx),
                Parsed::Partial if bytes.len() >= head::MAX_LEN => {
                    return self.refuse(TOO_LARGE, cx);
                }
                Parsed::Partial => {
                    self.input = bytes.to_vec();
                    return None;
                }
            };
            bytes = &bytes[head.len..];
            let stay = head
                .body
                .filter(|_| head.keep_alive && cx.args.keep_alive && !cx.stopping);
            let text = if stay.is_some() { KEEP_ALIVE } else { CLOSE };
            cx.output.extend_from_slice(text.as_bytes());
            if !head.is_head {
                cx.output.extend_from_slice(BODY.as_bytes());
            }
            cx.counters.requests.add(1);
            cx.debug(format_args!("request of {} bytes", head.len));
            self.answered = true;
            match stay {
                Some(body) => self.skip = body,
                None if bytes.is_empty() && head.body == Some(0) => return Some(End::Close),
                None => return Some(End::Farewell),
            }
        }
    }

    fn refuse(&self, text: &str, cx: &mut Context) -> Option<End> {
        cx.output.extend_from_slice(text.as_bytes());
        cx.counters.bad.add(1);
        cx.debug(format_args!("not a request"));
        Some(End::Farewell)
    }
}
