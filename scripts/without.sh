#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# without.sh: build the C files that the patches touch with the test guest's configuration, but with Fastsocket and Rust
# off: as somebody has them who applies the patches and does not want it. Needs build/vm to be configured. Cheap to repeat.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

dir=$BUILD/without
mkdir -p "$dir"
"$SRC/scripts/config" --file "$BUILD/vm/.config" --state FASTSOCKET >/dev/null || die "there is no build/vm: run 'make vm'"
cp "$BUILD/vm/.config" "$dir/.config.new"
"$SRC/scripts/config" --file "$dir/.config.new" -d FASTSOCKET -d FASTSOCKET_HOOKS -d RUST
cmp -s "$dir/.config.new" "$dir/.config.from" || { cp "$dir/.config.new" "$dir/.config"; mv "$dir/.config.new" "$dir/.config.from"; }
mapfile -t objects < <(git -C "$SRC" diff --name-only base HEAD -- 'net/*.c' 'kernel/*.c' 'fs/*.c' | sed 's/c$/o/')
"$TOP/scripts/kbuild.sh" without -s olddefconfig
! grep -q '^CONFIG_FASTSOCKET' "$dir/.config" || die "it cannot be switched off"
"$TOP/scripts/kbuild.sh" without -s -k KCFLAGS=-Werror -j"$(nproc)" "${objects[@]}"
