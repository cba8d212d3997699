// SPDX-License-Identifier: GPL-2.0

//! What the binary takes part in: the symbols that it exports, needs and
//! contains.

mod common;

use std::process::Command;

fn nm(options: &[&str]) -> Vec<String> {
    let output = Command::new("nm")
        .args(options)
        .arg(common::library())
        .output()
        .expect("nm of the binutils");
    assert!(output.status.success(), "nm failed");
    let text = String::from_utf8(output.stdout).expect("symbols in UTF-8");
    text.lines()
        .filter_map(|line| line.split_whitespace().next_back())
        .map(|name| name.split('@').next().unwrap_or(name).to_owned())
        .collect()
}

#[test]
fn exports_are_the_expected_list() {
    let mut exported = nm(&["-D", "--defined-only"]);
    exported.sort();
    let expected: Vec<_> = include_str!("../../fsocket/exports.txt").lines().collect();
    assert_eq!(exported, expected);
}

#[test]
fn nothing_can_panic() {
    let symbols = nm(&[]);
    assert!(symbols.iter().any(|name| name == "listen"), "stripped?");
    for name in symbols {
        assert!(
            !["panic", "unwrap", "rust_begin_unwind", "fmt"]
                .iter()
                .any(|bad| name.contains(bad)),
            "{name} is in the library"
        );
    }
}

#[test]
fn no_allocation_lock_or_cancellation_point() {
    const BAD: &[&str] = &[
        "malloc",
        "calloc",
        "realloc",
        "free",
        "mutex",
        "rwlock",
        "once",
        "tls_get_addr",
        "printf",
        "fopen",
        "getenv",
    ];
    const CANCELLED: &[&str] = &["open", "openat", "close", "write", "read", "poll", "ppoll"];
    for name in nm(&["-D", "--undefined-only"]) {
        let allowed = name == "secure_getenv";
        let bad = BAD.iter().any(|bad| name.contains(bad)) || CANCELLED.contains(&name.as_str());
        assert!(allowed || !bad, "{name} is called");
    }
}
