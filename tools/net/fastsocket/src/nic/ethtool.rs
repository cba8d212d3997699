// SPDX-License-Identifier: GPL-2.0

//! What a network card's driver is asked by ioctl. C header: `linux/ethtool.h`.
//!
//! Its structures are read and written as words of 32 bits.

use super::{Channels, Coalesce, Family, Rule};
use crate::sys::{self, EthtoolCommand as Command};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

/// How many queues a card has, and how many it could have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) now: Channels,
    pub(crate) most: Channels,
}

/// Can the card steer by rules?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ntuple {
    Unknown,
    Off,
    On,
}

/// The table of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// How many it has place for.
    pub(crate) size: u32,
    /// Those that are there, by location: `None` if it is not one of the sort that we make.
    pub(crate) rules: Vec<(u32, Option<Rule>)>,
}

/// A driver. What it cannot do is `EOPNOTSUPP`.
pub(crate) trait Ethtool {
    /// The number of the device in this network namespace.
    fn index(&self) -> io::Result<u32> {
        unsupported()
    }
    fn channels(&self) -> io::Result<Limits> {
        unsupported()
    }
    fn set_channels(&self, _channels: Channels) -> io::Result<()> {
        unsupported()
    }
    fn coalesce(&self) -> io::Result<Coalesce> {
        unsupported()
    }
    fn set_coalesce(&self, _coalesce: Coalesce) -> io::Result<()> {
        unsupported()
    }
    fn ntuple(&self) -> io::Result<Ntuple> {
        unsupported()
    }
    fn table(&self) -> io::Result<Table> {
        unsupported()
    }
    /// `None` takes the rule away.
    fn set_rule(&self, _location: u32, _rule: Option<&Rule>) -> io::Result<()> {
        unsupported()
    }
}

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))
}

/// Nothing can be asked: for a tree of files that is no kernel's.
pub(crate) struct Nothing;

impl Ethtool for Nothing {}

/// The driver of a device of this network namespace.
pub(crate) struct Driver {
    socket: UnixDatagram,
    device: String,
}

/// Words of `struct ethtool_channels`, and of `struct ethtool_coalesce`.
const CHANNELS: usize = 9;
const COALESCE: usize = 23;
const RX_USECS: usize = 1;
const ADAPTIVE_RX: usize = 10;

/// The names of features (`ETH_SS_FEATURES`), of so many words, and the one that is looked for.
const FEATURES: u32 = 4;
const NAME: usize = 8;
const NTUPLE: &[u8] = b"rx-ntuple-filter";

/// Words of `struct ethtool_rxnfc`, and where the fields are.
const RXNFC: usize = 48;
const TABLE_SIZE: usize = 2;
const FLOW: usize = 4;
const VALUE: usize = 5;
const MASK: usize = 23;
const QUEUE: usize = 42;
const LOCATION: usize = 44;
const RULES: usize = 46;
const LOCATIONS: usize = 47;

/// The driver says so beside the table's size if it may choose the location.
const SPECIAL: u32 = 0x8000_0000;

impl Driver {
    pub(crate) fn new(device: &str) -> io::Result<Self> {
        Ok(Self {
            // Any socket does.
            socket: UnixDatagram::unbound()?,
            device: device.to_owned(),
        })
    }

    /// Gives a command with the words after its number; they are what the kernel makes of them.
    fn ask(&self, command: Command, mut words: Vec<u32>) -> io::Result<Vec<u32>> {
        sys::ethtool(self.socket.as_fd(), &self.device, command, &mut words)?;
        Ok(words)
    }

    fn rule(&self, location: u32) -> io::Result<Option<Rule>> {
        let mut words = vec![0; RXNFC];
        words[LOCATION] = location;
        Ok(decode(&self.ask(Command::GetRule, words)?))
    }
}

impl Ethtool for Driver {
    fn index(&self) -> io::Result<u32> {
        sys::interface_index(&self.device)
    }

    fn channels(&self) -> io::Result<Limits> {
        let words = self.ask(Command::GetChannels, vec![0; CHANNELS])?;
        let channels = |rx: usize, combined: usize| Channels {
            combined: words[combined],
            rx: words[rx],
            tx: words[rx + 1],
        };
        Ok(Limits {
            now: channels(5, 8),
            most: channels(1, 4),
        })
    }

    fn set_channels(&self, channels: Channels) -> io::Result<()> {
        let mut words = self.ask(Command::GetChannels, vec![0; CHANNELS])?;
        words[5] = channels.rx;
        words[6] = channels.tx;
        words[8] = channels.combined;
        self.ask(Command::SetChannels, words).map(|_| ())
    }

    fn coalesce(&self) -> io::Result<Coalesce> {
        let words = self.ask(Command::GetCoalesce, vec![0; COALESCE])?;
        Ok(Coalesce {
            rx_usecs: words[RX_USECS],
            adaptive_rx: words[ADAPTIVE_RX] != 0,
        })
    }

    fn set_coalesce(&self, coalesce: Coalesce) -> io::Result<()> {
        let mut words = self.ask(Command::GetCoalesce, vec![0; COALESCE])?;
        words[RX_USECS] = coalesce.rx_usecs;
        words[ADAPTIVE_RX] = coalesce.adaptive_rx.into();
        self.ask(Command::SetCoalesce, words).map(|_| ())
    }

    fn ntuple(&self) -> io::Result<Ntuple> {
        let info = self.ask(Command::GetSetInfo, vec![0, 0, 1 << FEATURES, 0, 0])?;
        let count = info[4] as usize;
        let mut names = vec![0, FEATURES, info[4]];
        names.resize(3 + count * NAME, 0);
        let names = self.ask(Command::GetStrings, names)?;
        let bytes: Vec<u8> = names[3..].iter().flat_map(|w| w.to_ne_bytes()).collect();
        let mut names = bytes.chunks(4 * NAME);
        let Some(bit) = names.position(|name| {
            name.strip_prefix(NTUPLE)
                .is_some_and(|rest| rest.first() == Some(&0))
        }) else {
            return Ok(Ntuple::Unknown);
        };
        // For each 32 features: available, requested, active, never changed.
        let blocks = count.div_ceil(32);
        let mut features = vec![0, blocks as u32];
        features.resize(2 + 4 * blocks, 0);
        let features = self.ask(Command::GetFeatures, features)?;
        let has = |field: usize| features[2 + 4 * (bit / 32) + field] & 1 << (bit % 32) != 0;
        Ok(match (has(0), has(2)) {
            (_, true) => Ntuple::On,
            (true, false) => Ntuple::Off,
            (false, false) => Ntuple::Unknown,
        })
    }

    fn table(&self) -> io::Result<Table> {
        let count = self.ask(Command::CountRules, vec![0; RXNFC])?[RULES];
        let mut words = vec![0; RXNFC];
        words[RULES] = count;
        words.resize(RXNFC + count as usize, 0);
        let words = self.ask(Command::ListRules, words)?;
        // There may be fewer now.
        let locations = words[LOCATIONS..]
            .iter()
            .take(words[RULES].min(count) as usize);
        let rules = locations.map(|location| Ok((*location, self.rule(*location)?)));
        Ok(Table {
            size: words[TABLE_SIZE] & !SPECIAL,
            rules: rules.collect::<io::Result<_>>()?,
        })
    }

    fn set_rule(&self, location: u32, rule: Option<&Rule>) -> io::Result<()> {
        let (command, mut words) = match rule {
            Some(rule) => (Command::InsertRule, encode(rule)),
            None => (Command::DeleteRule, vec![0; RXNFC]),
        };
        words[LOCATION] = location;
        self.ask(command, words).map(|_| ())
    }
}

/// `TCP_V4_FLOW` or `TCP_V6_FLOW`, and in which word the destination port is, after the source port.
fn layout(family: Family) -> (u32, usize) {
    match family {
        Family::Ipv4 => (1, 2),
        Family::Ipv6 => (5, 8),
    }
}

fn encode(rule: &Rule) -> Vec<u32> {
    let (flow, at) = layout(rule.family);
    let port = |port: u16| {
        let [high, low] = port.to_be_bytes();
        u32::from_ne_bytes([0, 0, high, low])
    };
    let mut words = vec![0; RXNFC];
    words[FLOW] = flow;
    words[VALUE + at] = port(rule.port);
    words[MASK + at] = port(rule.mask);
    words[QUEUE] = rule.queue;
    words
}

/// `None` if it is more than such a rule, or another.
fn decode(words: &[u32]) -> Option<Rule> {
    let families = [Family::Ipv4, Family::Ipv6];
    let family = families
        .into_iter()
        .find(|family| layout(*family).0 == words[FLOW])?;
    let at = layout(family).1;
    let port = |word: u32| {
        let [.., high, low] = word.to_ne_bytes();
        u16::from_be_bytes([high, low])
    };
    let rule = Rule {
        family,
        port: port(words[VALUE + at]),
        mask: port(words[MASK + at]),
        queue: words[QUEUE],
    };
    // Nothing else is compared, and it goes to a queue of the device itself.
    let same = encode(&rule)[MASK..LOCATION] == words[MASK..LOCATION];
    same.then_some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of `ethtool -N lo flow-type tcp4 dst-port 0x8002 m 0x7ff9 action 1`, and of tcp6.
    #[test]
    fn a_rule_is_what_ethtool_makes_of_it() {
        for (family, flow, at) in [(Family::Ipv4, 1, 7), (Family::Ipv6, 5, 13)] {
            let rule = Rule {
                family,
                port: 0x8002,
                mask: 0x8006,
                queue: 1,
            };
            let words = encode(&rule);
            let there: Vec<_> = (0..RXNFC).filter(|word| words[*word] != 0).collect();
            assert_eq!(there, [4, at, at + 18, 42]);
            assert_eq!(words[4], flow);
            assert_eq!(words[at].to_ne_bytes(), [0, 0, 0x80, 2]);
            assert_eq!(words[at + 18].to_ne_bytes(), [0, 0, 0x80, 6]);
            assert_eq!(decode(&words), Some(rule));

            let mut other = words.clone();
            other[MASK] = 1;
            assert_eq!(decode(&other), None);
            let mut other = words;
            other[FLOW] = 2;
            assert_eq!(decode(&other), None);
        }
    }

    /// Of the loopback device, whatever machine this is.
    #[test]
    fn a_driver_is_asked() {
        let lo = Driver::new("lo").unwrap();
        assert_eq!(lo.index().unwrap(), 1);
        assert_eq!(lo.ntuple().unwrap(), Ntuple::Unknown);
        for error in [lo.channels().err(), lo.coalesce().err(), lo.table().err()] {
            assert_eq!(error.unwrap().raw_os_error(), Some(libc::EOPNOTSUPP));
        }
        let none = Driver::new("none-such").unwrap();
        for error in [none.index().err(), none.ntuple().err()] {
            assert_eq!(error.unwrap().raw_os_error(), Some(libc::ENODEV));
        }
    }
}
