#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tools.sh build|static|test|clippy|fmt-check|fmt: the cargo workspace (libfsocket.so, commands, demo
# server), with the distribution's cargo, into build/cargo. static: what is a guest's init, and so has
# no library to be linked with there, into build/cargo/x86_64-unknown-linux-gnu.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

cd "$TOP"
if [ ! -e Cargo.toml ]; then
	note "no Cargo.toml: no tools to build"
	exit 0
fi

# A toolchain of the user's own may come first in PATH, and be another version than cargo.
export PATH=/usr/bin:/bin:$CACHE/tools/bin:$PATH CARGO_TARGET_DIR=$TOP/build/cargo
export LIBCLANG_PATH=${LIBCLANG_PATH:-/usr/lib/llvm-19/lib}
unset RUSTUP_TOOLCHAIN RUSTC RUSTFLAGS MAKEFLAGS MFLAGS
case ${1:-build} in
build)
	[ -e build/cargo/release/libfsocket.so ] || need_space "$CARGO_TARGET_DIR" 1 "what cargo builds"
	exec cargo build --release --locked --workspace
	;;
static)
	# With --target, so that what runs at build time is not meant.
	export RUSTFLAGS='-C target-feature=+crt-static'
	exec cargo build --release --locked --target x86_64-unknown-linux-gnu -p coherence-workload -p fastsocket-shapes
	;;
test)
	[ -e build/cargo/debug ] || need_space "$CARGO_TARGET_DIR" 2 "what cargo builds for its tests"
	exec cargo test --locked --workspace
	;;
clippy) exec cargo clippy --locked --workspace --all-targets -- -D warnings ;;
fmt-check) exec cargo fmt --all --check -- --color=never ;;
fmt) exec cargo fmt --all ;;
*) die "usage: tools.sh build|static|test|clippy|fmt-check|fmt" ;;
esac
