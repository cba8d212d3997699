// SPDX-License-Identifier: GPL-2.0

//! A connection that epoll watches.

use crate::epoll::Epoll;
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// A stream and what epoll was told of it. Closing it removes it there.
pub(crate) struct Watched {
    /// The stream.
    pub(crate) stream: TcpStream,
    token: u64,
    interest: u32,
}

/// What came of reading or writing.
pub(crate) enum Moved {
    /// So many bytes, at least one.
    Bytes(usize),
    /// None for now.
    Blocked,
    /// None any more: the peer has sent all, or reads nothing more.
    End,
}

impl Watched {
    /// `stream`, of which epoll knows nothing yet.
    pub(crate) fn new(stream: TcpStream, token: u64) -> Self {
        Self {
            stream,
            token,
            interest: 0,
        }
    }

    /// Lets epoll tell of `interest`. Without any, the stream is not watched:
    /// epoll would go on to report a hang-up that nobody wants to hear of
    /// now.
    pub(crate) fn want(&mut self, epoll: &Epoll, interest: u32) -> io::Result<()> {
        match (self.interest, interest) {
            (old, new) if old == new => (),
            (0, new) => epoll.add(&self.stream, new, self.token)?,
            (_, 0) => epoll.delete(&self.stream)?,
            (_, new) => epoll.modify(&self.stream, new, self.token)?,
        }
        self.interest = interest;
        Ok(())
    }

    /// Reads into `buffer`, which has room.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Moved> {
        outcome(self.stream.read(buffer))
    }

    /// Writes some of `bytes`, of which there is at least one.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<Moved> {
        match outcome(self.stream.write(bytes)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Moved::End),
            other => other,
        }
    }

    /// Writes as much of `bytes` as goes, and returns the rest.
    pub(crate) fn write_most<'a>(&mut self, mut bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        while !bytes.is_empty() {
            match self.write(bytes)? {
                Moved::Bytes(count) => bytes = &bytes[count..],
                Moved::Blocked => break,
                Moved::End => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        Ok(bytes)
    }
}

fn outcome(result: io::Result<usize>) -> io::Result<Moved> {
    match result {
        Ok(0) => Ok(Moved::End),
        Ok(count) => Ok(Moved::Bytes(count)),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(Moved::Blocked),
            _ => Err(error),
        },
    }
}
