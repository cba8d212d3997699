// SPDX-License-Identifier: GPL-2.0

//! An event-driven server and proxy, one process per CPU.
//!
//! It stands for any server of short connections: the master opens the
//! listening sockets and forks workers, each worker waits on all of them with
//! epoll. Nothing in it knows of Fastsocket, so that the same binary runs with
//! and without `libfsocket.so`.

mod args;
mod conn;
mod epoll;
mod farewell;
mod head;
mod log;
mod master;
mod net;
mod pipe;
mod relay;
mod server;
mod signal;
mod slab;
mod stats;
mod sys;
mod watched;
mod worker;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match master::run(&args::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fastsocket-demo: {error}");
            ExitCode::FAILURE
        }
    }
}
