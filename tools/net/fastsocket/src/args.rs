// SPDX-License-Identifier: GPL-2.0

//! The command line.

use crate::address::Address;
use clap::{Parser, Subcommand};
use std::ffi::OsString;

/// Accept queues on every CPU, for programs that know nothing of them.
#[derive(Debug, Parser)]
#[command(name = "fastsocket", version, arg_required_else_help = true)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(RunArgs),
    /// Give accept queues on every CPU to sockets that begin to listen at an
    /// address, in this network namespace, whichever program it is
    Mark(AddressArgs),
    /// Take marks back; sockets that listen already keep their queues
    Unmark(AddressArgs),
    Marks(MarksArgs),
}

/// Run a program, and give accept queues on every CPU to its TCP sockets.
///
/// These are the sockets on which it, or a descendant of it, begins to listen,
/// and those that it is given listening. Stays until the last descendant is gone, daemons included, and hands
/// signals on: to the program, or after its end to what it has left. Ends with
/// the program's status, or 128 plus the number of the signal that killed it;
/// 127 if the program was not found, 126 if it could not be executed, 125 if
/// something else went wrong.
#[derive(Debug, clap::Args)]
#[command(override_usage = "fastsocket run [--strict] [--] PROGRAM [ARGS]...")]
pub(crate) struct RunArgs {
    /// Without Fastsocket, end with status 125 instead of running the program
    /// on plain sockets
    #[arg(long)]
    pub(crate) strict: bool,

    /// The program, and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "PROGRAM [ARGS]"
    )]
    pub(crate) program: Vec<OsString>,
}

/// What is marked, or is not to be any more.
#[derive(Debug, clap::Args)]
pub(crate) struct AddressArgs {
    /// IP:PORT, [IP6]:PORT, or PORT for all addresses of both families
    #[arg(required = true, value_name = "ADDRESS")]
    pub(crate) addresses: Vec<Address>,
}

/// List the marks of this network namespace.
#[derive(Debug, clap::Args)]
pub(crate) struct MarksArgs {
    /// As a JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Args::try_parse_from(line.split(' ')).map(|args| args.command)
    }

    #[test]
    fn command_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_program_keeps_its_options() {
        for line in [
            "fastsocket run --strict -- nginx -g off --strict -- -h",
            "fastsocket run --strict nginx -g off --strict -- -h",
        ] {
            let Ok(Command::Run(args)) = parse(line) else {
                panic!("{line}");
            };
            assert!(args.strict);
            assert_eq!(
                args.program,
                ["nginx", "-g", "off", "--strict", "--", "-h"],
                "{line}"
            );
        }
    }

    #[test]
    fn addresses() {
        let Ok(Command::Mark(args)) = parse("fastsocket mark 80 :443 [::1]:8080") else {
            panic!();
        };
        assert_eq!(args.addresses.len(), 3);
    }

    #[test]
    fn refused() {
        for line in [
            "fastsocket run",
            "fastsocket run --strict",
            "fastsocket run --lax true",
            "fastsocket mark",
            "fastsocket unmark",
            "fastsocket mark 80 localhost:80",
            "fastsocket marks 80",
            "fastsocket status",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
