// SPDX-License-Identifier: GPL-2.0

//! Short connections from a client on every CPU to a worker on every CPU.
//!
//! Each is a process of its own, pinned. A client connects, sends 64 bytes, gets
//! 100, and the server closes first. When all clients have warmed up they meet, and
//! then make exactly as many connections as they were asked to, between the marks
//! of the coherence plugin.
//!
//! Linked statically it is a guest's init as well: it sets up what it needs, and
//! turns the machine off at the end.

mod client;
mod init;
mod net;
mod server;
mod shared;
mod sys;

use clap::{Parser, ValueEnum};
use shared::Shared;
use std::{fs, io, process::ExitCode};

/// How connections come to workers.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One listening socket that all wait for, by EPOLLEXCLUSIVE
    Single,
    /// A socket for each worker, by SO_REUSEPORT
    Reuseport,
    /// The same, chosen by the CPU that the packet is on
    ReuseportCbpf,
    /// One listening socket, spawned on each worker's CPU
    Fastsocket,
}

/// The addresses of the clients.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Addresses {
    /// All have 127.0.0.1
    One,
    /// Each has its own
    Many,
}

/// Short connections from every CPU to every CPU, marked for the coherence plugin.
#[derive(Parser)]
struct Args {
    /// How connections come to workers
    #[arg(long, value_enum, default_value = "single")]
    kind: Kind,
    /// The addresses of the clients
    #[arg(long, value_enum, default_value = "one")]
    clients: Addresses,
    /// Connections that each client makes between the marks
    #[arg(long, default_value_t = 20)]
    connections: u32,
    /// And before them
    #[arg(long, default_value_t = 20)]
    warm_up: u32,
    /// Print the addresses of what is in modules, as in /proc/kallsyms
    #[arg(long)]
    kallsyms: bool,
}

fn run(args: &Args) -> io::Result<()> {
    let cpus = sys::cpus()?;
    let shared = Shared::new()?;
    let listeners = server::listen(args.kind, cpus)?;
    for cpu in 0..cpus {
        sys::fork(|| server::run(args.kind, cpu, &listeners, shared))?;
    }
    shared.ready.wait_for(cpus)?;
    for cpu in 0..cpus {
        sys::fork(|| client::run(args, cpu, shared))?;
    }
    drop(listeners);

    shared.ready.wait_for(2 * cpus)?;
    coherence_mark::warm();
    shared.warm.open()?;
    shared.ready.wait_for(3 * cpus)?;
    shared.left.set(cpus);
    coherence_mark::begin();
    shared.begin.open()?;
    // The last client makes the end mark.
    shared.done.wait_for(1)?;
    if args.kallsyms {
        let all = fs::read_to_string("/proc/kallsyms")?;
        for line in all.lines().filter(|line| line.ends_with(']')) {
            println!("{line}");
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let is_init = std::process::id() == 1;
    let result = if is_init {
        init::set_up().and_then(|words| run(&Args::parse_from(words)))
    } else {
        run(&Args::parse())
    };
    match &result {
        Ok(()) => println!("coherence-workload: done"),
        Err(error) => eprintln!("coherence-workload: {error}"),
    }
    if is_init {
        init::power_off();
    }
    // The children end with their parent.
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
