// SPDX-License-Identifier: GPL-2.0

//! The command line.

use clap::{ArgAction, Parser};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Answers HTTP requests, or relays them to backends, with one process per CPU.
#[derive(Clone, Debug, Parser)]
#[command(name = "fastsocket-demo", version)]
pub(crate) struct Args {
    /// Number of worker processes [default: one per online CPU]
    #[arg(short = 'w', value_name = "WORKERS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) workers: Option<u32>,

    /// Bind worker i to CPU START_CPU + i [default: wherever the kernel puts it]
    #[arg(short = 'c', value_name = "START_CPU")]
    pub(crate) start_cpu: Option<u32>,

    /// Append all output to this file
    #[arg(short = 'o', value_name = "LOGFILE")]
    pub(crate) log: Option<PathBuf>,

    /// Address to listen on, as 0.0.0.0:80 or [::]:80 (repeatable; port 0: any free one)
    #[arg(short = 'a', value_name = "IP:PORT", required = true)]
    pub(crate) listen: Vec<SocketAddr>,

    /// Relay to this backend instead of answering (repeatable, in turn)
    #[arg(short = 'x', value_name = "IP:PORT")]
    pub(crate) backends: Vec<SocketAddr>,

    /// Say what starts and ends, and print statistics at exit
    #[arg(short = 'v', action = ArgAction::SetTrue)]
    pub(crate) verbose: bool,

    /// Debug: say what happens to every connection
    #[arg(short = 'd', action = ArgAction::SetTrue)]
    pub(crate) debug: bool,

    /// Keep connections open for more requests; otherwise the server closes
    /// first (a relayed connection lives as long as its two ends want)
    #[arg(short = 'k', action = ArgAction::SetTrue)]
    pub(crate) keep_alive: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn both_families_and_every_option() {
        let line =
            "demo -w 4 -c 1 -o log -a 0.0.0.0:80 -a [::]:80 -x 10.0.0.1:8080 -x [fe80::1]:1 -vdk";
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        assert_eq!((args.workers, args.start_cpu), (Some(4), Some(1)));
        assert_eq!(args.listen.len(), 2);
        assert!(args.listen[1].is_ipv6());
        assert_eq!(args.backends.len(), 2);
        assert!(args.verbose && args.debug && args.keep_alive);
    }

    #[test]
    fn refused() {
        for line in [
            "demo",
            "demo -a 1.2.3.4",
            "demo -a localhost:80",
            "demo -a 1.2.3.4:5 -w 0",
        ] {
            assert!(Args::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
