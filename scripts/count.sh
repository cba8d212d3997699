#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# count.sh [options] OUT.json [-- WORKLOAD ARGUMENTS]: boot a guest whose only program is the
# workload, count what its connections cost (tools/testing/fastsocket/coherence), and write that, with
# names. The same arguments and binaries give the same bytes.
#
#   -k KIND    kernel in build/KIND: vm (default) or stock; or a directory with a built kernel
#   -c CPUS    number of CPUs, 4 if not given
#   -s INSNS   the least number of instructions after which the next CPU runs, 200 if not given
#   -r SEED    of the guest's random numbers, so of its hash tables; 1 if not given
#   -a         with AppArmor on, which has no profile there but is asked at each call for a socket
#   -t SECS    the longest that it may take, 1800 if not given
#
# Beside OUT.json stands OUT.log, the guest's console.
# "-- --help" shows the workload's arguments. What has to be built is built by tools.sh build and static.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/icount.sh
. "$TOP/scripts/icount.sh"

kind=vm cpus=4 slice=200 seed=1 apparmor=0 limit=1800
while getopts k:c:s:r:at: opt; do
	case $opt in
	k) kind=$OPTARG ;;
	c) cpus=$OPTARG ;;
	s) slice=$OPTARG ;;
	r) seed=$OPTARG ;;
	a) apparmor=1 ;;
	t) limit=$OPTARG ;;
	*) sed -n '3,/^$/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 1 ] || die "usage: count.sh [-k KIND] [-c CPUS] [-s INSNS] OUT.json [-- WORKLOAD ARGUMENTS]"
out=${1%.json}
shift
[ "${1:-}" != -- ] || shift

qemu_counts || die "QEMU 10.0 or newer is needed: run 'make setup'"
kernel=$(icount_kernel "$kind")
cargo=$TOP/build/cargo
plugin=$cargo/release/libfastsocket_coherence.so
init=$(icount_init coherence-workload)
[ -r "$plugin" ] || die "there is no $plugin: run 'scripts/tools.sh build'"
if [ $apparmor = 1 ] && ! grep -qx CONFIG_SECURITY_APPARMOR=y "$kernel/.config"; then
	die "the kernel in $kernel has no AppArmor"
fi
if [ "${1:-}" = --help ]; then exec "$init" --help; fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir "$root/files"
name=stock
[ ! -e "$kernel/net/fastsocket/fastsocket.ko" ] || name=fastsocket
case "$*" in
*veth*)
	# With what it is linked to, at the same places.
	ip=$(PATH=$PATH:/sbin:/usr/sbin command -v ip)
	cp "$(realpath "$ip")" "$root/files/ip"
	ldd "$ip" | grep -o '/[^ ]*' | while read -r f; do
		mkdir -p "$root/files/$(dirname "$f")"
		cp "$(realpath "$f")" "$root/files/$f"
	done
	;;
esac
icount_initrd "$kernel" "$init" "$root/files" >"$root/initrd"

rm -f "$out.json"
icount_qemu "$limit" "$cpus" "$seed" "$kernel" "$root/initrd" "apparmor=$apparmor $icount_boot -- --kallsyms $*" \
	-plugin "$plugin,out=$root/counts,slice=$slice,map=$kernel/System.map" \
	>"$out.log" 2>&1 || { tail -20 "$out.log" >&2; die "QEMU ended with an error: see $out.log"; }
if ! grep -q 'coherence-workload: done' "$out.log" || [ ! -s "$root/counts" ]; then
	tail -20 "$out.log" >&2
	die "the workload did not come to its end: see $out.log"
fi
"$cargo/release/fastsocket-coherence" resolve --kernel "$name" --map "$kernel/System.map" \
	--console "$out.log" "$root/counts" >"$root/named"
mv "$root/named" "$out.json"
