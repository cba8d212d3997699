// SPDX-License-Identifier: GPL-2.0

//! `fastsocket`: the administrator's side of `/dev/fastsocket`, and of network cards.
//!
//! Each subcommand has a file in `commands`, and its arguments in `args.rs`.
//! Everything unsafe is in `sys.rs`.

mod address;
mod args;
mod commands;
mod device;
mod nic;
mod processes;
mod sys;
#[cfg(test)]
#[path = "../tests/common/tree.rs"]
mod tree;

use args::{Args, Command};
use clap::Parser;
use commands::{mark, marks, nic as card, run};
use std::process::ExitCode;

/// The status of a command line that cannot be understood.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return refused(&error),
    };
    match args.command {
        Command::Run(args) => run::run(&args),
        Command::Mark(args) => mark::mark(&args.addresses),
        Command::Unmark(args) => mark::unmark(&args.addresses),
        Command::Marks(args) => marks::marks(&args),
        Command::Nic(args) => card::nic(&args),
    }
}

/// Prints what clap has to say. `run` has a status for itself, since any other
/// may be the program's.
fn refused(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    match (error.use_stderr(), std::env::args_os().nth(1)) {
        (false, _) => ExitCode::SUCCESS,
        (true, Some(command)) if command == "run" => run::OWN_ERROR.into(),
        (true, _) => USAGE.into(),
    }
}

/// Says what went wrong, or is worth a notice.
fn complain(what: impl std::fmt::Display) {
    // Not `eprintln`, which panics when nobody reads.
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("fastsocket: {what}\n"));
}
