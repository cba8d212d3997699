// SPDX-License-Identifier: GPL-2.0

//! The command line.

use crate::address::Address;
use crate::nic::cpus::Cpus;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

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
    Nic(NicArgs),
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

/// Have a network card spread its packets, one queue to one CPU.
///
/// As many queues as CPUs, or as the card has; the IRQ of each to a CPU of its
/// own; a CPU sends by its own queue. Where there are fewer queues than CPUs,
/// each queue has a share of them, over which RPS spreads what it receives.
/// What was set before is kept in /run/fastsocket for --undo.
#[derive(Debug, clap::Args)]
pub(crate) struct NicArgs {
    /// The network device
    #[arg(value_name = "IFACE")]
    pub(crate) device: String,

    /// The CPUs to use, such as 0-3,8, in the order of queues [default: those
    /// that are online, and those of the card's node first if there are fewer
    /// queues]
    #[arg(long, value_name = "LIST")]
    pub(crate) cpus: Option<Cpus>,

    /// Have the card wait so many microseconds for more packets before it
    /// sends an IRQ, and not decide that by itself
    #[arg(long, value_name = "USECS")]
    pub(crate) coalesce: Option<u32>,

    /// Put rules into the card by which packets of active connections go to the
    /// CPU that their port names (enable_receive_flow_deliver=1)
    #[arg(long)]
    pub(crate) ntuple: bool,

    /// Restore what was there before the first run
    #[arg(long, conflicts_with_all = ["cpus", "coalesce", "ntuple"])]
    pub(crate) undo: bool,

    /// Print the commands that would do it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// What was done, or would be, as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Where /sys, /proc and /run are; for tests, and without a driver to ask
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) root: Option<PathBuf>,
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
            "fastsocket nic",
            "fastsocket nic eth0 eth1",
            "fastsocket nic eth0 --cpus 3-1",
            "fastsocket nic eth0 --coalesce -1",
            "fastsocket nic eth0 --undo --ntuple",
            "fastsocket status",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
