#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# stock.sh [make arguments]: the kernel without our patches, of the same source and with the
# configuration of build/vm but for Rust, in build/stock. Without arguments: its image. What is compared
# with it has nothing else that differs.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

with=$BUILD/vm
stock=$BUILD/stock
source=$BUILD/stock-source

[ -e "$with/.config" ] || die "there is no build/vm/.config: run 'make vm'"
kbuild=(stock -j"$(nproc)" -C "$source" O="$stock")

# The options that C code can depend on.
options() { grep -E '^CONFIG_' "$1" | grep -Ev 'RUST|BINDGEN|FASTSOCKET' | LC_ALL=C sort; }

id=$(git -C "$SRC" rev-parse base)
if [ "$(cat "$source/.base" 2>/dev/null || true)" != "$id" ]; then
	note "unpacking the source without patches"
	rm -rf "$source"
	mkdir -p "$source"
	git -C "$SRC" archive base | tar -x -C "$source"
	echo "$id" >"$source/.base"
fi

mkdir -p "$stock"
{
	grep -Ev '^CONFIG_(RUST|FASTSOCKET|FASTSOCKET_HOOKS)=' "$with/.config"
	echo '# CONFIG_RUST is not set'
} >"$stock/.config.new"
if ! cmp -s "$stock/.config.new" "$stock/.config.made"; then
	cp "$stock/.config.new" "$stock/.config"
	"$TOP/scripts/kbuild.sh" "${kbuild[@]}" -s olddefconfig
	mv "$stock/.config.new" "$stock/.config.made"
fi
diff <(options "$with/.config") <(options "$stock/.config") >&2 ||
	die "the two configurations differ in more than Rust and Fastsocket"
"$TOP/scripts/build.sh" "${kbuild[@]}" "${@:-bzImage}"
