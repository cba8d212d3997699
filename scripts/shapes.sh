#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# shapes.sh [options] [SHAPE...] [-- ARGUMENTS]: run a server of every common shape, or of those named, on a
# plain and on a spawned socket of one kernel, in the own time of an emulated guest, and print a table: the spawned
# socket's as a ratio to the plain one's. The same arguments and binaries give the same table, to the digit.
#
#   -k KIND    kernel in build/KIND, vm if not given; or a directory with a built kernel and its module
#   -c CPUS    number of CPUs, 4 if not given
#   -s NS      the longest that a CPU runs before the next one does, 20000 if not given
#   -r SEEDS   of the guest's random numbers, so of its hash tables; 1 if not given. With several, as 1,2,3, the
#              table has the median of each ratio, and sums
#   -t SECS    the longest that a guest may take, 1800 if not given
#   -o DIR     where to put table.txt, table.json and the console of each guest, build/shapes if not given
#   -l         list the shapes
#
# The arguments say what requests are, where clients are, and for how long: "-- --help" shows them. Without, each
# shape has handlers that do nothing, compute or sleep for a millisecond, and clients in all places; and some have
# handlers of 10 ms as well, and clients that have two connections open and no more. Each shape has a guest of its
# own, so that the others make no difference to it; as many run at a time as there are CPUs here. What has to be
# built is built by tools.sh static.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=scripts/icount.sh
. "$TOP/scripts/icount.sh"

kind=vm cpus=4 slice=20000 seeds=1 limit=1800 out=$BUILD/shapes list=
while getopts k:c:s:r:t:o:l opt; do
	case $opt in
	k) kind=$OPTARG ;;
	c) cpus=$OPTARG ;;
	s) slice=$OPTARG ;;
	r) seeds=$OPTARG ;;
	t) limit=$OPTARG ;;
	o) out=$OPTARG ;;
	l) list=1 ;;
	*) sed -n '3,/^$/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))

init=$(icount_init fastsocket-shapes)
mapfile -t all < <("$init" shapes)
if [ -n "$list" ]; then exec printf '%s\n' "${all[@]}"; fi
shapes=()
while [ $# -gt 0 ]; do
	# getopts takes a "--" that comes first.
	[[ $1 != --* ]] || break
	[[ " ${all[*]} " = *" $1 "* ]] || die "there is no shape $1: see shapes.sh -l"
	shapes+=("$1")
	shift
done
[ "${1:-}" != -- ] || shift
[ ${#shapes[@]} -gt 0 ] || shapes=("${all[@]}")
for argument; do
	[ "$argument" != --help ] || exec "$init" run --help
done
qemu_counts || die "QEMU 10.0 or newer is needed: run 'make setup'"
kernel=$(icount_kernel "$kind")
[ -r "$kernel/net/fastsocket/fastsocket.ko" ] || die "the kernel in $kernel has no Fastsocket"

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/files" "$out"
icount_initrd "$kernel" "$init" "$root/files" >"$root/initrd"

IFS=, read -ra seeds <<<"$seeds"

# Each as NAME SHAPE ARGUMENTS.
guests=()
for shape in "${shapes[@]}"; do
	if [ $# -gt 0 ]; then
		guests+=("$shape $shape $*")
		continue
	fi
	guests+=("$shape $shape --handlers none,work:1000,sleep:1000 --clients one,each,spread,elsewhere")
	case $shape in
	epoll | level | block | block4 | select | generations)
		guests+=("$shape-long $shape --handlers work:10000,sleep:10000 --clients one,each --window 500")
		guests+=("$shape-light $shape --handlers none,work:1000 --clients one,spread,elsewhere --at-a-time 2")
		;;
	esac
done

# run SEED NAME SHAPE ARGUMENTS: boot that guest.
#
# QEMU runs a CPU until the next timer of the guest is due, a CPU's share of that time at a stretch: a millisecond,
# where what is measured is shorter. So there has to be a timer that is due often, and is nothing to the guest: it is
# a filter's, on a network that has neither a device nor packets.
run() {
	local seed=$1 name=$2-$1 shape=$3 interval=$((cpus * slice / 1000))
	shift 3
	icount_qemu "$limit" "$cpus" "$seed" "$kernel" "$root/initrd" "$icount_boot -- run --shapes $shape $*" \
		-netdev hubport,id=turns,hubid=0 \
		-object "filter-buffer,id=turn,netdev=turns,interval=$interval" >"$out/$name.log" 2>&1 &&
		grep -q '^shapes: done' "$out/$name.log" && return
	tail -20 "$out/$name.log" >&2
	note "see $out/$name.log"
	return 1
}

rm -f "$out"/*.log "$out"/table.*
note "running $((${#guests[@]} * ${#seeds[@]})) guests, $(nproc) at a time"
logs=()
for guest in "${guests[@]}"; do
	read -ra words <<<"$guest"
	for seed in "${seeds[@]}"; do
		while [ "$(jobs -pr | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
		run "$seed" "${words[@]}" &
		logs+=("$out/${words[0]}-$seed.log")
	done
done
wait
# This fails if one has not come to its end.
"$init" table --json "$out/table.json" "${logs[@]}" | tee "$out/table.txt"
