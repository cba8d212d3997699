// SPDX-License-Identifier: GPL-2.0

//! A network card that spreads its packets, one queue to one CPU.
//!
//! `host` finds out what there is, `plan` says what is to be changed, and `host` changes it.
//! `state` is what was there before.

pub(crate) mod cpus;
pub(crate) mod ethtool;
pub(crate) mod host;
pub(crate) mod plan;
pub(crate) mod state;

use serde::{Deserialize, Serialize};

/// What an administrator reads if something does not work: one line.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// Something that can be set, and a value for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Setting {
    /// A file of a queue: a mask of CPUs.
    Mask { path: String, cpus: String },
    /// The CPUs that an IRQ may go to, as a list. The number may change when the card's queues do, its
    /// name does not.
    Irq {
        number: u32,
        name: String,
        cpus: String,
    },
    /// How many queues the card has.
    Channels(Channels),
    /// How long the card waits for more packets before it sends an IRQ.
    Coalesce(Coalesce),
    /// A rule in the card's table; `None`: there is none.
    Rule { location: u32, rule: Option<Rule> },
}

/// Queues of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Channels {
    /// Those that receive and send.
    pub(crate) combined: u32,
    pub(crate) rx: u32,
    pub(crate) tx: u32,
}

/// When the card sends an IRQ for what it has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Coalesce {
    /// Microseconds after the first packet, at the latest.
    pub(crate) rx_usecs: u32,
    /// Does the driver choose by itself?
    pub(crate) adaptive_rx: bool,
}

/// TCP packets that a card puts into a queue because of some bits of their destination port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) family: Family,
    pub(crate) port: u16,
    /// Which bits of the port count.
    pub(crate) mask: u16,
    pub(crate) queue: u32,
}

/// Of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

impl Setting {
    /// Is it the value of the same thing?
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mask { path, .. }, Self::Mask { path: other, .. }) => path == other,
            (Self::Irq { name, .. }, Self::Irq { name: other, .. }) => name == other,
            (
                Self::Rule { location, .. },
                Self::Rule {
                    location: other, ..
                },
            ) => location == other,
            (Self::Channels(_), Self::Channels(_)) | (Self::Coalesce(_), Self::Coalesce(_)) => true,
            _ => false,
        }
    }

    /// Is it the same value?
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mask { cpus, .. }, Self::Mask { cpus: other, .. }) => {
                cpus::same_mask(cpus, other)
            }
            (Self::Irq { cpus, .. }, Self::Irq { cpus: other, .. }) => cpus == other,
            _ => self == other,
        }
    }

    /// The IRQ has this number now.
    pub(crate) fn is_now_at(&mut self, now: &Self) {
        if let (Self::Irq { number, .. }, Self::Irq { number: now, .. }) = (self, now) {
            *number = *now;
        }
    }

    /// The command of a shell that sets it, for the device.
    pub(crate) fn command(&self, device: &str) -> String {
        match self {
            Self::Mask { path, cpus } => format!("echo {cpus} > {path}"),
            Self::Irq { number, cpus, .. } => {
                format!("echo {cpus} > {}", host::irq_file(*number))
            }
            Self::Channels(Channels { combined, rx, tx }) => {
                let counts = [("combined", combined), ("rx", rx), ("tx", tx)];
                let counts = counts.iter().filter(|(_, count)| **count > 0);
                let counts: String = counts.map(|(kind, n)| format!(" {kind} {n}")).collect();
                format!("ethtool -L {device}{counts}")
            }
            Self::Coalesce(Coalesce {
                rx_usecs,
                adaptive_rx,
            }) => {
                let adaptive = if *adaptive_rx { "on" } else { "off" };
                format!("ethtool -C {device} adaptive-rx {adaptive} rx-usecs {rx_usecs}")
            }
            Self::Rule { location, rule } => match rule {
                None => format!("ethtool -N {device} delete {location}"),
                Some(rule) => {
                    let family = match rule.family {
                        Family::Ipv4 => "tcp4",
                        Family::Ipv6 => "tcp6",
                    };
                    // ethtool wants the bits that do not count.
                    format!(
                        "ethtool -N {device} flow-type {family} dst-port {:#x} m {:#x} action {} loc {location}",
                        rule.port, !rule.mask, rule.queue
                    )
                }
            },
        }
    }
}
