// SPDX-License-Identifier: GPL-2.0

//! How `libfsocket.so` is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for arg in [
        "-Wl,-soname,libfsocket.so",
        // A symbol that nobody provides is found when linking, not when an
        // administrator's program starts.
        "-Wl,-z,defs",
        // A thread may be in a hook: never unmap.
        "-Wl,-z,nodelete",
        // `core` was compiled to unwind, and unoptimised code keeps referring to
        // the routine for that. Nothing here unwinds: there is none.
        "-Wl,--defsym=rust_eh_personality=0",
        // The crate libc leaves it to std, where anybody in the workspace has it know std.
        "-lc",
        // No lazy binding: a hook may run in a signal handler.
        "-Wl,-z,now",
    ] {
        println!("cargo::rustc-cdylib-link-arg={arg}");
    }
}
