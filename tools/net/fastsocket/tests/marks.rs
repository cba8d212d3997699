// SPDX-License-Identifier: GPL-2.0

//! `fastsocket mark`, `unmark` and `marks` without the device, and command
//! lines that are refused. With the device, a kernel self test runs them.

mod common;

use common::{output, stderr, without_device};

#[test]
fn usage_errors() {
    for args in [
        &["mark"][..],
        &["mark", "localhost:80"],
        &["unmark", "80", "0"],
        &["marks", "80"],
        &["no-such-command"],
        &[],
    ] {
        let output = output(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let refused = stderr(&output(&["mark", "80", "localhost:80"]));
    assert!(
        refused.contains("localhost:80") && refused.contains("IP:PORT"),
        "{refused}"
    );
}

#[test]
fn help_is_no_error() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["run", "--help"],
        &["mark", "--help"],
    ] {
        let output = output(args);
        assert!(output.status.success(), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}

#[test]
fn without_the_module_it_says_so() {
    if !without_device() {
        return;
    }
    for args in [
        &["mark", "80"][..],
        &["unmark", "80"],
        &["marks"],
        &["marks", "--json"],
    ] {
        let output = output(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(output.stdout.is_empty());
        let said = stderr(&output);
        assert!(said.contains("modprobe fastsocket"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}
