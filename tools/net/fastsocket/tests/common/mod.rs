// SPDX-License-Identifier: GPL-2.0

//! The command under test.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The command, with an environment in which no service manager is.
pub(crate) fn fastsocket() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fastsocket"));
    for name in ["LISTEN_PID", "LISTEN_FDS", "WATCHDOG_PID"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// What it printed and how it ended, with `args`.
pub(crate) fn output(args: &[&str]) -> Output {
    fastsocket().args(args).output().expect("it starts")
}

/// What it said on stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether this host lacks the device; what is said without it is not tested
/// with it.
pub(crate) fn without_device() -> bool {
    !Path::new("/dev/fastsocket").exists()
}
