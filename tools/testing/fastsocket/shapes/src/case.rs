// SPDX-License-Identifier: GPL-2.0

//! What is compared: shapes of servers, what they do for a request, and where clients are.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A shape of a server. Unless it says otherwise there is a worker for each CPU, a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Shape {
    /// Each worker has an epoll, registers by EPOLLEXCLUSIVE, and accepts until there is nothing
    Epoll,
    /// The same, level triggered and not exclusive: all are woken
    Level,
    /// Workers block in accept()
    Block,
    /// The same, with 4 times as many workers as CPUs
    Block4,
    /// The same, with 16 times as many
    Block16,
    /// Workers accept first, and select() when there was nothing
    Select,
    /// Each worker has an io_uring, and one request for all that it is to accept
    Uring,
    /// All are registered; who has the lock waits by epoll and accepts
    Lockepoll,
    /// Who has the lock blocks in accept()
    Lockblock,
    /// In each worker one thread registers, and another waits and accepts
    Registrar,
    /// Threads of one process share one epoll
    Pool,
    /// A thread accepts, others serve what it writes to a pipe
    Boss,
    /// Workers block in accept(); another process is registered edge triggered and never accepts
    Watcher,
    /// One process, one loop
    Single,
    /// As epoll, with a socket for each worker by SO_REUSEPORT
    Reuseport,
    /// As epoll, with half as many workers as CPUs
    Few,
    /// As level, and one worker more that has no descriptor left, and tries again at once
    Emfile,
    /// As epoll, with something on CPU 1 that computes all the time
    Hog,
    /// As epoll; when half of the warm-up is over, one is stopped
    Stopped,
    /// As epoll; when half of the warm-up is over, others come and these stop to accept, and stay
    Generations,
}

/// What addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    /// All of the machine's own.
    pub(crate) fn any(self) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// That of the machine itself.
    pub(crate) fn localhost(self) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::LOCALHOST.into(),
            Self::Ipv6 => Ipv6Addr::LOCALHOST.into(),
        }
    }
}

/// Where clients are, and on which CPU packets are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Clients {
    /// One, on CPU 0; all packets are received there
    One,
    /// One on each CPU; what it sends is received there
    Each,
    /// One, on CPU 0; RPS spreads the packets over all CPUs
    Spread,
    /// One, on CPU 0; RPS puts all packets on CPU 1
    Elsewhere,
    /// A proxy in front, on the same CPUs, with a process for each; its client is on CPU 0
    Proxy,
}

impl Clients {
    /// On which CPUs there is one.
    pub(crate) fn cpus(self, cpus: u32) -> u32 {
        match self {
            Self::Each => cpus,
            Self::One | Self::Spread | Self::Elsewhere | Self::Proxy => 1,
        }
    }

    /// On which CPUs RPS puts packets, if it does.
    pub(crate) fn receive_on(self, cpus: u32) -> Option<u64> {
        match self {
            Self::One | Self::Each | Self::Proxy => None,
            Self::Spread => Some(u64::MAX >> (u64::BITS - cpus)),
            Self::Elsewhere => Some(1 << 1),
        }
    }
}

/// What a server does between request and answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handler {
    /// It computes for so long.
    pub(crate) work_us: u32,
    /// And then sleeps.
    pub(crate) sleep_us: u32,
}

impl fmt::Display for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.work_us, self.sleep_us) {
            (0, 0) => f.write_str("none"),
            (work, 0) => write!(f, "work:{work}"),
            (0, sleep) => write!(f, "sleep:{sleep}"),
            (work, sleep) => write!(f, "work:{work}+sleep:{sleep}"),
        }
    }
}

impl FromStr for Handler {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut handler = Self::default();
        if text == "none" {
            return Ok(handler);
        }
        for part in text.split('+') {
            let (what, us) = part.split_once(':').unwrap_or((part, ""));
            let us = us.parse().map_err(|_| format!("{part}: no microseconds"))?;
            match what {
                "work" => handler.work_us = us,
                "sleep" => handler.sleep_us = us,
                _ => return Err(format!("{what}: neither work nor sleep")),
            }
        }
        Ok(handler)
    }
}

/// What is run on a plain socket, and on a spawned one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    /// The CPUs of the guest.
    pub(crate) cpus: u32,
    pub(crate) shape: Shape,
    pub(crate) handler: Handler,
    pub(crate) clients: Clients,
    pub(crate) family: Family,
    /// Connections that all clients together have open.
    pub(crate) at_a_time: u32,
}

/// What a value is called on the command line.
pub(crate) fn name(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.expect("none is skipped").get_name().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Clients, Handler};

    #[test]
    fn a_handler_is_what_is_printed_of_it() {
        for text in ["none", "work:1000", "sleep:10000", "work:1+sleep:2"] {
            let handler: Handler = text.parse().expect(text);
            assert_eq!(handler.to_string(), text);
        }
        for text in ["", "work", "work:", "work:x", "play:1", "work:1+"] {
            assert!(text.parse::<Handler>().is_err(), "{text}");
        }
    }

    #[test]
    fn packets_are_received_where_they_should() {
        assert_eq!(Clients::Spread.receive_on(4), Some(0xf));
        assert_eq!(Clients::Spread.receive_on(64), Some(u64::MAX));
        assert_eq!(Clients::Elsewhere.receive_on(4), Some(2));
        assert_eq!(Clients::One.receive_on(4), None);
    }
}
