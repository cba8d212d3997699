// SPDX-License-Identifier: GPL-2.0

//! Programs that know nothing of Fastsocket, to be run under `libfsocket.so`.
//!
//! `fsocket-test SCENARIO` ends with 0 if the program saw what it would see
//! without the library. Everything else is judged from outside, by
//! `tests/preload.rs` on any host, and by the kernel's self tests with the
//! device.

mod errors;
mod filter;
mod sockets;
mod threads;

use std::process::ExitCode;

/// What a scenario found wrong.
type Outcome = Result<(), String>;

/// A program.
type Scenario = fn() -> Outcome;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("nothing", || Ok(())),
    ("tcp", sockets::tcp),
    ("tcp6", sockets::tcp6),
    ("unix", sockets::unix),
    ("descriptors", sockets::descriptors),
    ("closed", sockets::closed),
    ("stderr-connection", sockets::stderr_connection),
    ("errors", errors::of_listen),
    ("errno", errors::preserved),
    ("filter", filter::strict),
    ("prctl", filter::prctl),
    ("cancel", threads::listen_is_no_cancellation_point),
];

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some((_, scenario)) = SCENARIOS.iter().find(|(known, _)| *known == name) else {
        eprintln!("usage: fsocket-test SCENARIO");
        for (known, _) in SCENARIOS {
            eprintln!("  {known}");
        }
        return ExitCode::from(2);
    };
    match scenario() {
        Ok(()) => {
            println!("ok");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            println!("{name}: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// The calling thread's `errno`.
fn errno() -> i32 {
    // SAFETY: always a valid location.
    unsafe { *libc::__errno_location() }
}

/// Sets `errno`, to see who changes it.
fn set_errno(value: i32) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = value };
}

/// Complains if `seen` is not what was expected.
fn expect<T: PartialEq + std::fmt::Debug>(what: &str, seen: T, expected: T) -> Outcome {
    if seen == expected {
        Ok(())
    } else {
        Err(format!("{what}: {seen:?}, expected {expected:?}"))
    }
}

/// Any error as the reason of a failure.
fn reason(error: impl std::fmt::Display) -> String {
    error.to_string()
}
