#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Unit tests of the cargo workspace.

. "$(dirname "$0")/../tap.sh"

if [ ! -e Cargo.toml ]; then
	skip "cargo test" "no Cargo.toml"
	plan
	exit
fi
log=$BUILD/logs/cargo-test.out
mkdir -p "$BUILD/logs"
scripts/tools.sh test 2>&1 | tee "$log" | comment
status=${PIPESTATUS[0]}
while read -r _ name dots result _; do
	[ "$dots" = ... ] || continue
	case $result in
	ok) ok "cargo: $name" ;;
	ignored*) skip "cargo: $name" ignored ;;
	FAILED) not_ok "cargo: $name" ;;
	esac
done < <(grep '^test ' "$log")
[ "$status" = 0 ] || not_ok "cargo test ended with status $status"
[ "$TAP_N" -gt 0 ] || not_ok "cargo ran no test"
plan
