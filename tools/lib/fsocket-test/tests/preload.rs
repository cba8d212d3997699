// SPDX-License-Identifier: GPL-2.0

//! Programs under the library, on a host with or without the device.

mod common;

use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_fsocket-test");
const PLAIN: &str = "plain sockets\n";
const STRICT: &str = "FSOCKET_STRICT is set\n";

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("LD_PRELOAD", common::library())
        .env_remove("FSOCKET_DISABLE")
        .env_remove("FSOCKET_STRICT")
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDS");
    command
}

fn run(scenario: &str, environment: &[(&str, &str)]) -> Output {
    command(PROGRAM)
        .arg(scenario)
        .envs(environment.iter().copied())
        .output()
        .expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn assert_ok(output: &Output) {
    assert!(
        output.status.success() && output.stdout == b"ok\n",
        "{:?}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        stderr(output)
    );
}

/// Whether this host lacks the device; what is said without it is not tested
/// with it.
fn without_device() -> bool {
    !Path::new("/dev/fastsocket").exists()
}

#[track_caller]
fn assert_warned(output: &Output, times: usize) {
    let times = if without_device() { times } else { 0 };
    let text = stderr(output);
    assert_eq!(text.matches(PLAIN).count(), times, "{text}");
    assert_eq!(text.lines().count(), times, "{text}");
}

#[test]
fn tcp_works_with_one_warning() {
    for scenario in ["tcp", "tcp6", "closed"] {
        let output = run(scenario, &[]);
        assert_ok(&output);
        assert_warned(&output, 1);
    }
}

#[test]
fn nothing_is_done_under_a_filter() {
    let output = run("filter", &[]);
    assert_ok(&output);
    // It had begun to listen before.
    assert_warned(&output, 1);
}

#[test]
fn no_warning_where_nothing_is_missing() {
    for scenario in ["nothing", "unix", "prctl"] {
        let output = run(scenario, &[]);
        assert_ok(&output);
        assert_warned(&output, 0);
    }
}

#[test]
fn no_warning_to_a_peer() {
    let output = run("stderr-connection", &[]);
    assert_ok(&output);
    assert_warned(&output, 1);
}

#[test]
fn descriptors_are_as_without() {
    assert_ok(&run("descriptors", &[]));
}

#[test]
fn errors_are_as_without() {
    assert_ok(&run("errors", &[]));
    assert_ok(&run("errno", &[]));
}

#[test]
fn cancellation_is_as_without() {
    assert_ok(&run("cancel", &[]));
}

#[test]
fn disabled_is_silent() {
    for scenario in ["tcp", "errno", "cancel"] {
        let output = run(
            scenario,
            &[("FSOCKET_DISABLE", "1"), ("FSOCKET_STRICT", "1")],
        );
        assert_ok(&output);
        assert!(output.stderr.is_empty(), "{}", stderr(&output));
    }
}

#[test]
fn strict_refuses_to_listen() {
    if !without_device() {
        return assert_ok(&run("tcp", &[("FSOCKET_STRICT", "1")]));
    }
    let output = run("tcp", &[("FSOCKET_STRICT", "1")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).ends_with(STRICT), "{}", stderr(&output));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("os error 19"), "{said}");
}

#[test]
fn strict_leaves_others_alone() {
    for scenario in ["nothing", "unix"] {
        let output = run(scenario, &[("FSOCKET_STRICT", "1")]);
        assert_ok(&output);
        assert!(output.stderr.is_empty(), "{}", stderr(&output));
    }
}

/// As a service manager starts a program with sockets.
fn activated(strict: &str) -> Output {
    command("sh")
        .args([
            "-c",
            "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" nothing",
            PROGRAM,
        ])
        .env("FSOCKET_STRICT", strict)
        .output()
        .expect("a shell")
}

#[test]
fn socket_activation() {
    let output = activated("0");
    assert_ok(&output);
    assert_warned(&output, 1);

    let output = activated("1");
    if without_device() {
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        assert!(stderr(&output).ends_with(STRICT), "{}", stderr(&output));
    } else {
        assert_ok(&output);
    }
}
