// SPDX-License-Identifier: GPL-2.0

//! `fastsocket mark` and `fastsocket unmark`.

use crate::address::Address;
use crate::complain;
use crate::device::{self, Device};
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

/// What became of an address.
#[derive(Debug, PartialEq, Eq)]
enum Effect {
    Changed,
    /// It was so before.
    None,
}

/// Marks every address; one that is marked already is none the worse for it.
pub(crate) fn mark(addresses: &[Address]) -> ExitCode {
    on_each(addresses, "mark", libc::EEXIST, Device::mark, |address| {
        complain(format_args!("{address} is marked already"));
        ExitCode::SUCCESS
    })
}

/// Unmarks every address.
pub(crate) fn unmark(addresses: &[Address]) -> ExitCode {
    on_each(
        addresses,
        "unmark",
        libc::ENOENT,
        Device::unmark,
        |address| {
            complain(format_args!("{address} is not marked"));
            ExitCode::FAILURE
        },
    )
}

/// Gives the command for all addresses, even when it fails for one of them.
fn on_each(
    addresses: &[Address],
    name: &str,
    no_change: i32,
    command: impl Fn(&Device, &SocketAddr) -> io::Result<()>,
    without_effect: impl Fn(&Address) -> ExitCode,
) -> ExitCode {
    let device = match Device::open() {
        Ok(device) => device,
        Err(error) => {
            complain(error);
            return ExitCode::FAILURE;
        }
    };
    let mut status = ExitCode::SUCCESS;
    for address in addresses {
        let result = match apply(*address, no_change, |address| command(&device, address)) {
            Ok(Effect::Changed) => continue,
            Ok(Effect::None) => without_effect(address),
            Err((address, error)) => {
                let hint = device::hint(&error);
                let colon = if hint.is_empty() { "" } else { ": " };
                complain(format_args!(
                    "cannot {name} {address}: {error}{colon}{hint}"
                ));
                ExitCode::FAILURE
            }
        };
        if result != ExitCode::SUCCESS {
            status = result;
        }
    }
    status
}

/// Gives the command for what `address` stands for. For a port it is enough
/// if it has an effect on one of the families, and if the kernel has one.
fn apply(
    address: Address,
    no_change: i32,
    command: impl Fn(&SocketAddr) -> io::Result<()>,
) -> Result<Effect, (SocketAddr, io::Error)> {
    let mut effect = Effect::None;
    for one in address.each() {
        match command(&one).map_err(|error| (error.raw_os_error(), error)) {
            Ok(()) => effect = Effect::Changed,
            Err((Some(errno), _)) if errno == no_change => (),
            Err((Some(libc::EAFNOSUPPORT), _)) if matches!(address, Address::Port(_)) => (),
            Err((_, error)) => return Err((one, error)),
        }
    }
    Ok(effect)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies a command that gives the errors, 0 for none, in turn.
    fn with(text: &str, errors: &[i32]) -> Result<Effect, (String, i32)> {
        let next = std::cell::Cell::new(0);
        let address = text.parse().unwrap();
        let result = apply(address, libc::EEXIST, |_| {
            let error = errors[next.replace(next.get() + 1)];
            match error {
                0 => Ok(()),
                _ => Err(io::Error::from_raw_os_error(error)),
            }
        });
        result.map_err(|(address, error)| {
            (
                address.to_string(),
                error.raw_os_error().unwrap_or_default(),
            )
        })
    }

    #[test]
    fn one() {
        assert_eq!(with("[::1]:80", &[0]), Ok(Effect::Changed));
        assert_eq!(with("[::1]:80", &[libc::EEXIST]), Ok(Effect::None));
        let failed = Err(("[::1]:80".into(), libc::EAFNOSUPPORT));
        assert_eq!(with("[::1]:80", &[libc::EAFNOSUPPORT]), failed);
    }

    #[test]
    fn both() {
        assert_eq!(with("80", &[0, 0]), Ok(Effect::Changed));
        assert_eq!(with("80", &[0, libc::EEXIST]), Ok(Effect::Changed));
        assert_eq!(with("80", &[libc::EEXIST, 0]), Ok(Effect::Changed));
        assert_eq!(with("80", &[libc::EEXIST; 2]), Ok(Effect::None));
        assert_eq!(with("80", &[0, libc::EAFNOSUPPORT]), Ok(Effect::Changed));
        let failed = |address: &str, error| Err((address.to_owned(), error));
        assert_eq!(
            with("80", &[libc::EPERM]),
            failed("0.0.0.0:80", libc::EPERM)
        );
        assert_eq!(
            with("80", &[0, libc::ENOSPC]),
            failed("[::]:80", libc::ENOSPC)
        );
    }
}
