// SPDX-License-Identifier: GPL-2.0

//! A server of every common shape, on a plain and on a spawned socket of the same kernel.
//!
//! In a guest it runs them, one after the other, each in a network namespace of its own,
//! and prints a line for each run. Linked statically it is the guest's init. On the host
//! it makes a table of these lines.

mod case;
mod client;
mod measure;
mod proxy;
mod run;
mod server;
mod stats;
mod table;
mod worker;

use case::Shape;
use clap::{Parser, ValueEnum};
use fastsocket_guest::init;
use std::process::ExitCode;

/// A server of every common shape, on a plain and on a spawned socket.
#[derive(Parser)]
enum Command {
    /// Name the shapes
    Shapes,
    /// Run servers, and print a line for each run
    Run(run::Args),
    /// Put what guests printed side by side: spawned as a ratio to plain
    Table(table::Args),
}

/// Whether this program is all that runs in a guest.
fn is_init() -> bool {
    std::process::id() == 1
}

fn work() -> Result<(), String> {
    let command = if is_init() {
        let words = init::set_up().map_err(|error| error.to_string())?;
        let command = Command::parse_from(words);
        if let Command::Run(args) = &command {
            init::load_module(&args.parameters()).map_err(|error| error.to_string())?;
        }
        command
    } else {
        Command::parse()
    };
    match command {
        Command::Shapes => {
            for shape in Shape::value_variants() {
                println!("{}", case::name(shape));
            }
            Ok(())
        }
        Command::Run(args) => run::all(&args).map_err(|error| error.to_string()),
        Command::Table(args) => table::print(&args),
    }
}

fn main() -> ExitCode {
    let result = work();
    if let Err(error) = &result {
        eprintln!("shapes: {error}");
    }
    if is_init() {
        if result.is_ok() {
            println!("{}", run::DONE);
        }
        init::power_off();
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
