// SPDX-License-Identifier: GPL-2.0

//! Generates the bindings from `include/uapi/linux/fastsocket.h`.
//!
//! libclang is found as `clang-sys` finds it; `LIBCLANG_PATH` names another.

use std::{env, path::PathBuf};

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let wrapper = here.join("wrapper.h");
    let uapi = here.join("../../../include/uapi/linux/fastsocket.h");
    for path in [&wrapper, &uapi] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    println!("cargo::rerun-if-env-changed=LIBCLANG_PATH");

    bindgen::Builder::default()
        .header(wrapper.to_str().expect("a path in UTF-8"))
        .use_core()
        .ctypes_prefix("core::ffi")
        .allowlist_type("fsocket_.*")
        .allowlist_var("FSOCKET_.*")
        .opaque_type("epoll_event")
        .prepend_enum_name(false)
        .generate_comments(false)
        .formatter(bindgen::Formatter::None)
        .generate()
        .expect("bindings of linux/fastsocket.h")
        .write_to_file(out.join("bindings.rs"))
        .expect("bindings.rs written");
}
