// SPDX-License-Identifier: GPL-2.0

//! Short connections from a client on every CPU to a worker on every CPU.
//!
//! Each is a process of its own, pinned. A client connects, sends 64 bytes, gets
//! 100, and the server closes first. When all clients have warmed up they meet, and
//! then make exactly as many connections as they were asked to, between the marks
//! of the coherence plugin. As a proxy, a worker opens for each request a connection
//! to a backend, of which there is one on every CPU, too.
//!
//! Which CPU received a connection is asked for while clients warm up: the question
//! would cost some hundred instructions of what is counted.
//!
//! Linked statically it is a guest's init as well: it sets up what it needs, and
//! turns the machine off at the end.

mod client;
mod net;
mod network;
mod server;
mod shared;
mod stray;

use clap::{Parser, ValueEnum};
use fastsocket_guest::{init, sys};
use serde::Serialize;
use shared::Shared;
use std::{fs, io, process::ExitCode};

/// How connections come to workers.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// One listening socket that all wait for, by EPOLLEXCLUSIVE
    Single,
    /// A socket for each worker, by SO_REUSEPORT
    Reuseport,
    /// The same, chosen by the CPU that the packet is on
    ReuseportCbpf,
    /// One listening socket, spawned on each worker's CPU
    Fastsocket,
    /// The same, and active connections stay on their CPU: enable_receive_flow_deliver=1
    FastsocketRfd,
}

impl Kind {
    /// Whether the module is needed, and sockets are spawned.
    fn is_spawned(self) -> bool {
        matches!(self, Self::Fastsocket | Self::FastsocketRfd)
    }
}

/// What is between clients and workers.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Network {
    /// The loopback device
    Lo,
    /// Clients are in another network namespace; packets stay on the CPU that sent them
    Veth,
    /// Each client is behind a device of its own, and receives on its CPU, as a machine of its
    /// own would; RPS spreads what the server receives over all CPUs, as a card with a queue for
    /// each would
    VethRps,
}

/// The addresses of the clients.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Addresses {
    /// All have the same
    One,
    /// Each has its own
    Many,
}

/// Short connections from every CPU to every CPU, marked for the coherence plugin.
#[derive(Parser, Serialize)]
struct Args {
    /// How connections come to workers
    #[arg(long, value_enum, default_value = "single")]
    kind: Kind,
    /// Workers open a connection to a backend for each request
    #[arg(long)]
    proxy: bool,
    /// What is between clients and workers; all but lo needs a guest's init
    #[arg(long, value_enum, default_value = "lo")]
    network: Network,
    /// The addresses of the clients
    #[arg(long, value_enum, default_value = "one")]
    clients: Addresses,
    /// Connections that each client makes between the marks
    #[arg(long, default_value_t = 20)]
    connections: u32,
    /// And before them
    #[arg(long, default_value_t = 20)]
    warm_up: u32,
    /// Keep nothing of what TCP learns of a peer: tcp_no_metrics_save=1; needs a guest's init
    #[arg(long)]
    tcp_no_metrics_save: bool,
    /// In the place of a connection, a segment that belongs to none; by lo
    #[arg(long, conflicts_with_all = ["network", "clients", "proxy"])]
    stray: bool,
    /// Print the addresses of what is in modules, as in /proc/kallsyms
    #[arg(long)]
    #[serde(skip)]
    kallsyms: bool,
}

/// What is printed at the end, for the command that reads the counts.
#[derive(Serialize)]
struct Statement<'a> {
    #[serde(flatten)]
    args: &'a Args,
    /// Whether AppArmor is on, which looks at each socket call.
    apparmor: bool,
    /// Connections that workers accepted before the marks.
    accepted: u32,
    /// And those of them that their own CPU had received.
    accepted_local: u32,
}

fn run(args: &Args) -> io::Result<()> {
    let cpus = sys::cpus()?;
    let shared = Shared::new()?;
    let mut ready = 0;
    if args.proxy {
        for cpu in 0..cpus {
            sys::fork(|| server::run_backend(cpu, shared))?;
        }
        ready += cpus;
    }
    let listeners = server::listen(args.kind, cpus)?;
    for cpu in 0..cpus {
        sys::fork(|| server::run(args, cpu, &listeners, shared))?;
    }
    ready += cpus;
    shared.ready.wait_for(ready)?;
    for cpu in 0..cpus {
        sys::fork(|| client::run(args, cpu, shared))?;
    }
    drop(listeners);

    ready += cpus;
    shared.ready.wait_for(ready)?;
    coherence_mark::warm();
    shared.warm.open()?;
    ready += cpus;
    shared.ready.wait_for(ready)?;
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
    let statement = Statement {
        args,
        apparmor: network::has_apparmor(),
        accepted: shared.accepted.get(),
        accepted_local: shared.accepted_local.get(),
    };
    println!(
        "coherence-workload: is {}",
        serde_json::to_string(&statement)?
    );
    Ok(())
}

/// CPUs run in turn here, and the clock counts the instructions of all: what a CPU would do in a microsecond takes as many
/// as there are CPUs. So that what is told apart by time is what it would be where they run at once, it is given so much
/// longer.
fn module_parameters(kind: Kind) -> String {
    const DEFAULT_US: usize = 125;
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get());
    format!(
        "help_after_us={} enable_receive_flow_deliver={}",
        DEFAULT_US * cpus,
        u8::from(kind == Kind::FastsocketRfd)
    )
}

fn main() -> ExitCode {
    let is_init = std::process::id() == 1;
    let result = if is_init {
        init::set_up().and_then(|words| {
            let args = Args::parse_from(words);
            network::set_up_network(&args)?;
            network::set_up_tcp(&args)?;
            if args.kind.is_spawned() {
                init::load_module(&module_parameters(args.kind))?;
            }
            run(&args)
        })
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
