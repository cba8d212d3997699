// SPDX-License-Identifier: GPL-2.0

//! `fastsocket marks`.

use crate::args::MarksArgs;
use crate::complain;
use serde::Serialize;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

/// One mark a line, as [`SocketAddr`] is printed.
const PATH: &str = "/proc/net/fsocket_marks";

/// A mark, as it is printed.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Mark {
    /// The whole of it: what `fastsocket unmark` takes.
    address: String,
    ip: IpAddr,
    port: u16,
    /// The number of the interface, where the address has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope_id: Option<u32>,
}

impl From<SocketAddr> for Mark {
    fn from(address: SocketAddr) -> Self {
        let scope_id = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => Some(v6.scope_id()),
            _ => None,
        };
        Self {
            address: address.to_string(),
            ip: address.ip(),
            port: address.port(),
            scope_id,
        }
    }
}

/// Lists the marks of this network namespace, in the order of addresses.
pub(crate) fn marks(args: &MarksArgs) -> ExitCode {
    let text = match fs::read_to_string(PATH) {
        Ok(text) => text,
        Err(error) => {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => ": load the module: modprobe fastsocket",
                _ => "",
            };
            complain(format_args!("cannot read {PATH}: {error}{hint}"));
            return ExitCode::FAILURE;
        }
    };
    let written = parse(&text).and_then(|marks| write(&marks, args.json, io::stdout().lock()));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads no more wants no more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

fn parse(text: &str) -> io::Result<Vec<Mark>> {
    let mut addresses = text
        .lines()
        .map(|line| {
            let strange = |_| io::Error::other(format!("{PATH}: cannot make sense of '{line}'"));
            line.trim().parse().map_err(strange)
        })
        .collect::<io::Result<Vec<SocketAddr>>>()?;
    addresses.sort();
    Ok(addresses.into_iter().map(Mark::from).collect())
}

fn write(marks: &[Mark], json: bool, mut to: impl Write) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut to, marks)?;
        writeln!(to)?;
    } else {
        for mark in marks {
            writeln!(to, "{}", mark.address)?;
        }
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[fe80::1%2]:80\n0.0.0.0:443\n[::]:443\n0.0.0.0:80\n";

    fn written(text: &str, json: bool) -> String {
        let mut out = Vec::new();
        write(&parse(text).unwrap(), json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn sorted_lines() {
        let sorted = "0.0.0.0:80\n0.0.0.0:443\n[::]:443\n[fe80::1%2]:80\n";
        assert_eq!(written(TEXT, false), sorted);
        assert_eq!(written("", false), "");
    }

    #[test]
    fn json() {
        let value: serde_json::Value = serde_json::from_str(&written(TEXT, true)).unwrap();
        assert_eq!(
            value[0],
            serde_json::json!({ "address": "0.0.0.0:80", "ip": "0.0.0.0", "port": 80 })
        );
        assert_eq!(
            value[3],
            serde_json::json!({
                "address": "[fe80::1%2]:80", "ip": "fe80::1", "port": 80, "scope_id": 2
            })
        );
        assert_eq!(written("", true), "[]\n");
    }

    #[test]
    fn what_is_no_address_is_an_error() {
        let error = parse("0.0.0.0:80\nwhat\n").unwrap_err().to_string();
        assert!(error.ends_with("'what'"), "{error}");
    }
}
