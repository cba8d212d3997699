// SPDX-License-Identifier: GPL-2.0

//! A proxy on the server's machine: for each connection of a client it makes one to the server. The delays are
//! those of the latter.

use crate::{
    case::Case,
    client::{self, Window},
    measure::{self, Shared},
};
use fastsocket_guest::{
    net::{self, ANSWER, REQUEST},
    sys,
};
use std::{io, net::IpAddr, os::fd::OwnedFd, thread};

/// Where it listens, by a plain socket.
pub(crate) const PORT: u16 = 8081;

/// Starts a process for each CPU, which may run on any; together they have as many connections at a time as the
/// case has.
pub(crate) fn start(case: &Case, window: Window, shared: &'static Shared) -> io::Result<()> {
    let listener = net::listen(0, case.family.any(), PORT, false)?;
    let at_a_time = case.at_a_time.div_ceil(case.cpus);
    for _ in 0..case.cpus {
        sys::fork(|| {
            thread::scope(|scope| {
                for _ in 0..at_a_time {
                    scope.spawn(|| {
                        if let Err(error) = work(&listener, case.family.localhost(), window, shared)
                        {
                            eprintln!("the proxy has failed: {error}");
                            shared.fail();
                        }
                    });
                }
            });
            Ok(())
        })?;
    }
    Ok(())
}

fn work(listener: &OwnedFd, to: IpAddr, window: Window, shared: &Shared) -> io::Result<()> {
    let mut request = [0; 2 * REQUEST];
    loop {
        let Some((client, _)) = net::accept_from(listener)? else {
            continue;
        };
        // What fails is closed, and the client counts it.
        if !matches!(net::receive(&client, &mut request), Ok(Some(REQUEST))) {
            continue;
        }
        let began = measure::now()?;
        let server = net::socket(to, 0)?;
        net::connect(&server, to, client::PORT)?;
        let port = net::local_port(&server)?;
        net::send(&server, &request[..REQUEST])?;
        let Some(answer) = answer(&server) else {
            shared.take_accepted(port);
            continue;
        };
        let now = measure::now()?;
        let accepted = shared.take_accepted(port).unwrap_or(now);
        if began >= shared.began() + window.from {
            shared.measured(accepted.saturating_sub(began), now - began)?;
        }
        // A client may have given up.
        let _ = net::send(&client, &answer);
    }
}

/// All that a server sends until it closes, if that is an answer.
fn answer(server: &OwnedFd) -> Option<[u8; ANSWER]> {
    let mut got = 0;
    let mut bytes = [0; 2 * ANSWER];
    while got < bytes.len() {
        match net::receive(server, &mut bytes[got..]) {
            Ok(Some(0)) => break,
            Ok(Some(n)) => got += n,
            Ok(None) | Err(_) => return None,
        }
    }
    (got == ANSWER).then(|| bytes[..ANSWER].try_into().ok())?
}
