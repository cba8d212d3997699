#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# config.sh [--new|--check] KIND: make build/KIND/.config, and refuse to go on when a requested
# option did not survive. kconfig drops what it cannot have without a word and ends 0: an unusable
# rustc or bindgen takes CONFIG_RUST away, and everything of ours with it.
#
#   default   x86_64_defconfig + fastsocket.config
#   vm        allnoconfig + fastsocket.config + fastsocket_vm.config: the test guest
#   debug     the same + fastsocket_debug.config
#
# A default configuration that exists is the user's, and is kept unless --new asks for a fresh one.
# vm and debug are made again whenever what they are made of changed. --check only checks.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

mode=
case ${1:-} in --new | --check) mode=$1; shift ;; esac
kind=${1:?usage: config.sh [--new|--check] KIND}
case $kind in
default) fragments=(fastsocket) ;;
vm) fragments=(fastsocket fastsocket_vm) ;;
debug) fragments=(fastsocket fastsocket_vm fastsocket_debug) ;;
*) die "no configuration '$kind': default, vm or debug" ;;
esac

dir=$BUILD/$kind
wanted=$dir/.fastsocket.wanted
madeof=$dir/.fastsocket.madeof
mkdir -p "$dir"

kbuild() { "$TOP/scripts/kbuild.sh" "$kind" -s "$@" 2>&1 | sed '/override: reassigning/d'; }

# The last request for an option counts.
for f in "${fragments[@]}"; do cat "$TOP/kernel/configs/$f.config"; done |
	awk '/^CONFIG_.*=/ { n = $0; sub(/=.*/, "", n) } /^# CONFIG_.* is not set/ { n = $2 }
	     n { want[n] = $0; n = "" } END { for (n in want) print want[n] }' | LC_ALL=C sort >"$wanted"

now_made_of() {
	cat "$wanted"
	git -C "$SRC" rev-parse HEAD
	find "$TOP/net/fastsocket" -name 'Kconfig*' -exec cat {} + 2>/dev/null || true
}

make_config() {
	case $kind in
	default)
		kbuild x86_64_defconfig
		cat "$wanted" >>"$dir/.config"
		kbuild olddefconfig
		;;
	*)
		kbuild ARCH=x86_64 KCONFIG_ALLCONFIG="$wanted" allnoconfig
		;;
	esac
}

check() {
	local bad=0 line name got
	while read -r line; do
		name=${line#\# } name=${name%%[= ]*}
		got=$(grep -E "^(# )?${name}[= ]" "$dir/.config" || echo "# $name is not set")
		[ "$got" = "$line" ] && continue
		# Built in is as good as a module.
		[ "$line" = "$name=m" ] && [ "$got" = "$name=y" ] && continue
		note "config $kind: asked for '$line', got '$got'"
		bad=1
	done <"$wanted"
	[ $bad = 1 ] || return 0
	grep -qx CONFIG_RUST=y "$dir/.config" || kbuild rustavailable >&2 || true
	die "build/$kind/.config lacks what kernel/configs/ asks for"
}

if [ "$mode" != --check ] && { [ "$mode" = --new ] || [ ! -e "$dir/.config" ] ||
	! now_made_of | cmp -s - "$madeof"; }; then
	if [ "$kind" = default ] && [ "$mode" != --new ] && [ -e "$dir/.config" ]; then
		kbuild olddefconfig
	else
		make_config
	fi
	now_made_of >"$madeof"
fi
[ -e "$dir/.config" ] || die "there is no build/$kind/.config"
check
