#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# lint.sh [--fix]: every check that needs no guest: rustfmt, clippy (kernel module and tools),
# checkpatch on the patches and on our C files, shellcheck. --fix only runs rustfmt, and rewrites.
# LINT_FAST=1 leaves out clippy, which has to build.

# Checks are called by name, through run.
# shellcheck disable=SC2317

set -uo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$TOP" || exit 1
export PATH=/usr/bin:/bin:$PATH

ours() { git ls-files -co --exclude-standard -- "$@" | while read -r f; do [ ! -e "$f" ] || echo "$f"; done; }

mapfile -t rs < <(ours 'net/**/*.rs' 'rust/**/*.rs' 'net/*.rs')
# Tests of the kselftest harness and tracepoints are macros through and through, which checkpatch has
# much to say of.
mapfile -t c < <(ours '*.c' '*.h' ':!tools/testing/selftests' ':!include/trace')
mapfile -t sh < <(ours '*.sh' .ci/run)
bad=0

# run NAME COMMAND...: say how it went; the output only if it did not go well.
run() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then
		echo "lint: $name: ok"
	else
		printf '%s\nlint: %s: FAILED\n' "$out" "$name"
		bad=1
	fi
}

# The kernel's own style. From standard input, since rustfmt follows `mod` lines in files.
formatted() { rustfmt --edition 2021 --config-path "$SRC/.rustfmt.toml" <"$1"; }
rustfmt_kernel() {
	local f out=0
	for f in "${rs[@]}"; do
		formatted "$f" | diff -u --label "$f" --label "$f (rustfmt)" "$f" - || out=1
	done
	return "$out"
}

if [ "${1:-}" = --fix ]; then
	for f in "${rs[@]}"; do
		new=$(formatted "$f") || exit 1
		[ "$new" = "$(cat "$f")" ] || printf '%s\n' "$new" >"$f"
	done
	exec scripts/tools.sh fmt
fi

run 'splat detector' scripts/splat.sh --self-test
run rooms scripts/rooms.sh --check
run shellcheck shellcheck -x "${sh[@]}"
run 'rustfmt, kernel' rustfmt_kernel
run 'rustfmt, tools' scripts/tools.sh fmt-check

checkpatch=("$SRC/scripts/checkpatch.pl" --strict --terse --no-tree --no-summary)
mapfile -t patches < <(series)
[ ${#patches[@]} = 0 ] ||
	# READ_ONCE(function)(argument), which the kernel has everywhere, is not understood.
	run 'checkpatch, patches' bash -c 'cd patches && "$@"' - "${checkpatch[@]}" \
		--ignore FILE_PATH_CHANGES,UNNECESSARY_PARENTHESES "${patches[@]}"
# A static key is defined by a macro, which checkpatch does not take for what is exported after it.
# What it says of new files asks for a MAINTAINERS entry of the kernel's, which is not ours to make.
# Our proto_ops are copied from others at boot, and read-only from then on.
[ ${#c[@]} = 0 ] || run 'checkpatch, C files' "${checkpatch[@]}" --ignore CONST_STRUCT,EXPORT_SYMBOL --file "${c[@]}"

if [ -z "${LINT_FAST:-}" ]; then
	run 'clippy, tools' scripts/tools.sh clippy
	if [ ${#rs[@]} -gt 0 ]; then
		# Clippy takes the place of rustc, so it gets a build directory of its own.
		clippy_kernel() {
			scripts/config.sh vm && mkdir -p "$BUILD/clippy" && cp "$BUILD/vm/.config" "$BUILD/clippy/" &&
				scripts/kbuild.sh clippy -s -j"$(nproc)" CLIPPY=1 olddefconfig prepare &&
				scripts/kbuild.sh clippy -s -j"$(nproc)" CLIPPY=1 KRUSTFLAGS=-Dwarnings net/fastsocket/
		}
		run 'clippy, kernel' clippy_kernel
	fi
fi
exit "$bad"
