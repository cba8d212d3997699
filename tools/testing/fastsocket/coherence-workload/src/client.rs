// SPDX-License-Identifier: GPL-2.0

//! A client: one connection after the other.

use crate::{net, network, shared::Shared, stray::Sender, Addresses, Args, Network};
use fastsocket_guest::{
    net::{receive, send, ANSWER, REQUEST},
    sys,
};
use std::{io, net::Ipv4Addr};

/// Runs the client of a CPU.
pub(crate) fn run(args: &Args, cpu: u32, shared: &Shared) -> io::Result<()> {
    let result = work(args, cpu, shared);
    if result.is_err() {
        shared.fail();
    }
    result
}

fn work(args: &Args, cpu: u32, shared: &Shared) -> io::Result<()> {
    sys::pin(cpu)?;
    if args.network != Network::Lo {
        sys::enter_network(network::CLIENTS)?;
    }
    let to = net::server_address(args.network, cpu);
    let from = match args.clients {
        Addresses::One => None,
        Addresses::Many => Some(net::client_address(args.network, cpu)),
    };
    let mut stray = args.stray.then(|| Sender::new(cpu, to)).transpose()?;
    let mut once = || match &mut stray {
        Some(sender) => sender.send(),
        None => connection(from, to),
    };
    shared.ready.add()?;
    shared.warm.wait_for(1)?;
    for _ in 0..args.warm_up {
        once()?;
    }
    shared.ready.add()?;
    shared.begin.wait_for(1)?;
    for _ in 0..args.connections {
        once()?;
        coherence_mark::unit();
    }
    if shared.left.take() {
        coherence_mark::end();
        shared.done.add()?;
    }
    // An end of the process would be counted with the others' connections.
    sys::sleep()
}

fn connection(from: Option<Ipv4Addr>, to: Ipv4Addr) -> io::Result<()> {
    let socket = net::connect(from, to)?;
    send(&socket, &[b'?'; REQUEST])?;
    let mut answer = [0; 2 * ANSWER];
    let mut got = 0;
    loop {
        match receive(&socket, &mut answer[got..])? {
            Some(0) => break,
            Some(n) => got += n,
            None => return Err(io::ErrorKind::WouldBlock.into()),
        }
    }
    if got == ANSWER {
        Ok(())
    } else {
        Err(io::Error::other(format!("an answer of {got} bytes")))
    }
}
