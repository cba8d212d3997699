// SPDX-License-Identifier: GPL-2.0

//! The library under test.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// `libfsocket.so` as it is shipped: the file that `FSOCKET_LIB` names, or
/// the release build, made here if need be.
pub(crate) fn library() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| match env::var_os("FSOCKET_LIB") {
        Some(path) => path.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the target directory")
        .to_owned();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--release", "--package"])
        .args(["fsocket", "--manifest-path"])
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../fsocket/Cargo.toml"
        ))
        .arg("--target-dir")
        .arg(&target)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "libfsocket.so was not built");
    target.join("release/libfsocket.so")
}
