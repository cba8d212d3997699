// SPDX-License-Identifier: GPL-2.0

//! Addresses as they are given on the command line: numbers, never names.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// What is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// One address, of one family.
    One(SocketAddr),
    /// A port, and all addresses of both families.
    Port(u16),
}

impl Address {
    /// The socket addresses that it stands for.
    pub(crate) fn each(self) -> Vec<SocketAddr> {
        match self {
            Self::One(address) => vec![address],
            Self::Port(port) => vec![
                (Ipv4Addr::UNSPECIFIED, port).into(),
                (Ipv6Addr::UNSPECIFIED, port).into(),
            ],
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(address) => address.fmt(f),
            Self::Port(port) => write!(f, "port {port}"),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix(':').unwrap_or(text);
        let (address, port) = if is_number(digits) {
            let port = digits
                .parse()
                .map_err(|_| "a port is a number from 1 to 65535")?;
            (Self::Port(port), port)
        } else {
            let address: SocketAddr = text
                .parse()
                .map_err(|_| "expected IP:PORT, [IP6]:PORT or PORT; names are not looked up")?;
            (Self::One(address), address.port())
        };
        if port == 0 {
            return Err("port 0 stands for any free one, and cannot be marked".into());
        }
        Ok(address)
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, String> {
        text.parse()
    }

    #[test]
    fn one_address() {
        for text in [
            "192.0.2.1:80",
            "0.0.0.0:65535",
            "[::1]:8080",
            "[::]:1",
            "[fe80::1%2]:80",
        ] {
            let address = parse(text).unwrap();
            assert_eq!(address, Address::One(text.parse().unwrap()));
            assert_eq!(address.to_string(), text);
            assert_eq!(address.each().len(), 1);
        }
    }

    #[test]
    fn a_port_is_both_families() {
        for text in ["80", ":80"] {
            let address = parse(text).unwrap();
            assert_eq!(address, Address::Port(80));
            let each: Vec<_> = address.each().iter().map(SocketAddr::to_string).collect();
            assert_eq!(each, ["0.0.0.0:80", "[::]:80"]);
        }
    }

    #[test]
    fn refused() {
        for text in [
            "",
            ":",
            "+80",
            "-1",
            "::80",
            "80:",
            "192.0.2.1",
            "192.0.2.256:80",
            "::1:80",
            "[::1]",
            "[192.0.2.1]:80",
            "[fe80::1%eth0]:80",
            "localhost:80",
            "*:80",
            " 80",
        ] {
            assert!(parse(text).unwrap_err().contains("IP:PORT"), "{text}");
        }
        for text in ["65536", "192.0.2.1:65536", "99999999999999999999"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in ["0", ":0", "192.0.2.1:0", "[::]:0"] {
            assert!(parse(text).unwrap_err().contains("port 0"), "{text}");
        }
    }
}
