// SPDX-License-Identifier: GPL-2.0

//! What the kernel counted of spawned sockets, in the caller's network namespace.

use fastsocket_guest::init::named;
use serde::{Deserialize, Serialize};
use std::{fs, io};

const FILE: &str = "/proc/net/fsocket_stats";

/// Some columns of `/proc/net/fsocket_stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stats {
    pub(crate) listen: u64,
    pub(crate) accept_local: u64,
    pub(crate) accept_global: u64,
    pub(crate) accept_foreign: u64,
    pub(crate) stolen: u64,
    pub(crate) pushed: u64,
}

impl Stats {
    pub(crate) fn read() -> io::Result<Self> {
        let text = fs::read_to_string(FILE).map_err(|error| named(FILE, error))?;
        Self::parse(&text).ok_or_else(|| io::Error::other(format!("{FILE}: a column is missing")))
    }

    fn parse(text: &str) -> Option<Self> {
        let names = text.lines().next()?.split_whitespace();
        let total = text
            .lines()
            .map(|line| line.split_whitespace())
            .find(|line| line.clone().next() == Some("total"))?;
        let column = |name| -> Option<u64> {
            let at = names.clone().position(|other| other == name)?;
            total.clone().nth(at)?.parse().ok()
        };
        Some(Self {
            listen: column("listen")?,
            accept_local: column("accept_local")?,
            accept_global: column("accept_global")?,
            accept_foreign: column("accept_foreign")?,
            stolen: column("stolen")?,
            pushed: column("pushed")?,
        })
    }

    /// What was counted since `earlier`; sockets, since there are any.
    pub(crate) fn since(self, earlier: &Self) -> Self {
        Self {
            listen: self.listen,
            accept_local: self.accept_local - earlier.accept_local,
            accept_global: self.accept_global - earlier.accept_global,
            accept_foreign: self.accept_foreign - earlier.accept_foreign,
            stolen: self.stolen - earlier.stolen,
            pushed: self.pushed - earlier.pushed,
        }
    }

    /// Connections that were accepted from spawned sockets.
    pub(crate) fn accepted(&self) -> u64 {
        self.accept_local + self.accept_global + self.accept_foreign
    }
}

#[cfg(test)]
mod tests {
    use super::Stats;

    #[test]
    fn columns_are_found_by_name() {
        let text = "\
CPU listen new accept_foreign accept_local accept_global pushed stolen
0 1 99 2 3 4 5 6
total 10 990 20 30 40 50 60
";
        let stats = Stats::parse(text).expect("all columns");
        assert_eq!((stats.listen, stats.accept_foreign), (10, 20));
        assert_eq!((stats.accept_local, stats.accept_global), (30, 40));
        assert_eq!((stats.pushed, stats.stolen), (50, 60));
        assert_eq!(stats.accepted(), 90);
        assert_eq!(stats.since(&stats).accepted(), 0);
        assert_eq!(Stats::parse(&text.replace("stolen", "taken")), None);
        assert_eq!(Stats::parse(&text.replace("total", "all")), None);
    }
}
