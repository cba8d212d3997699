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
case $kind in */*) kernel=$(realpath "$kind") ;; *) kernel=$BUILD/$kind ;; esac
cargo=$TOP/build/cargo
plugin=$cargo/release/libfastsocket_coherence.so
init=$cargo/x86_64-unknown-linux-gnu/release/coherence-workload
[ -r "$kernel/arch/x86/boot/bzImage" ] || die "there is no kernel in $kernel: run 'make vm'"
for f in "$plugin" "$init"; do
	[ -r "$f" ] || die "there is no $f: run 'scripts/tools.sh build' and 'scripts/tools.sh static'"
done
if [ $apparmor = 1 ] && ! grep -qx CONFIG_SECURITY_APPARMOR=y "$kernel/.config"; then
	die "the kernel in $kernel has no AppArmor"
fi
if [ "${1:-}" = --help ]; then exec "$init" --help; fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir "$root/files"
# Symbols would only take the guest's time.
strip -o "$root/files/init" "$init"
name=stock
if [ -e "$kernel/net/fastsocket/fastsocket.ko" ]; then
	name=fastsocket
	cp "$kernel/net/fastsocket/fastsocket.ko" "$root/files/"
fi
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
find "$root/files" -exec touch -h -d @0 {} +
(cd "$root/files" && find . | LC_ALL=C sort | cpio -o -H newc --quiet --reproducible -R 0:0) >"$root/initrd"

# Waiting loops take long where one thread runs all CPUs in turn: what can be told is not measured.
boot="apparmor=$apparmor nokaslr lpj=8000000 tsc=reliable tsc_early_khz=1000000 no_timer_check cpu_init_udelay=10"
# The kernel tests its cryptography in threads after boot, and connections would be counted with them.
boot+=" cryptomgr.notests=1"
# Nothing in the guest may depend on this machine: neither time, nor random numbers, nor how fast
# somebody answers. Hence no clock but the count of instructions, and no device but a serial port.
rm -f "$out.json"
timeout -k 10 "$limit" qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
	-accel tcg,thread=single -icount shift=0,sleep=off -seed "$seed" -rtc base=2025-01-01T00:00:00,clock=vm \
	-cpu max -smp "$cpus" -m 1G -serial stdio \
	-kernel "$kernel/arch/x86/boot/bzImage" -initrd "$root/initrd" \
	-append "console=ttyS0 quiet panic=-1 $boot -- --kallsyms $*" \
	-plugin "$plugin,out=$root/counts,slice=$slice,map=$kernel/System.map" \
	</dev/null >"$out.log" 2>&1 || { tail -20 "$out.log" >&2; die "QEMU ended with an error: see $out.log"; }
if ! grep -q 'coherence-workload: done' "$out.log" || [ ! -s "$root/counts" ]; then
	tail -20 "$out.log" >&2
	die "the workload did not come to its end: see $out.log"
fi
"$cargo/release/fastsocket-coherence" resolve --kernel "$name" --map "$kernel/System.map" \
	--console "$out.log" "$root/counts" >"$root/named"
mv "$root/named" "$out.json"
