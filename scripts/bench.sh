#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# bench.sh quick|full: count what a connection costs for each kind of server, side by side. The table goes
# to stdout and to build/bench/NAME.txt; NAME.json and NAME.svg beside it say the same. The counts of each
# guest are in build/bench/NAME/.
#
#   quick   4 CPUs, and 24 for the two kinds that keep connections where they are; the patched kernel alone
#   full    the stock kernel's kinds and ours on 1 to 24 CPUs; then proxies, other networks and addresses,
#           without TCP's metrics of peers, and with AppArmor; and then, by shapes.sh, servers of every common
#           shape on plain and on spawned sockets, on 4 and 8 CPUs
#
# From the environment: SYMBOLS=1 adds the functions and fields that have most transfers, the functions that
# execute most instructions in the kernel, what it executes them for, and by how much the kinds differ. CONNECTIONS is
# what each client makes while it is counted, WARM_UP before that; SLICE is count.sh's -s, SEED its -r.
# CPI and LATENCY are the parameters of the model, in cycles.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

name=${1:-}
connections=${CONNECTIONS:-40} warm_up=${WARM_UP:-40} slice=${SLICE:-200} seed=${SEED:-1}
dir=$BUILD/bench/$name
options='' # of count.sh, for the guests that follow
guests=()

# guest KERNEL KIND CPUS WORKLOAD-ARGUMENTS: one more to be counted.
guest() {
	local kernel=$1 kind=$2 cpus=$3
	shift 3
	guests+=("$kernel $cpus ${options:--} --kind $kind --connections $connections --warm-up $warm_up $*")
}

# What a user would run instead, and ours.
kinds() {
	local kernel=$1 kind
	shift
	for kind in single reuseport reuseport-cbpf; do guest "$kernel" "$kind" "$@"; done
	guest vm fastsocket "$@"
	guest vm fastsocket-rfd "$@"
}

case $name in
quick)
	kinds vm 4
	guest vm reuseport-cbpf 24
	guest vm fastsocket 24
	guest vm fastsocket-rfd 24
	;;
full)
	for cpus in 24 16 8 4 2 1; do kinds stock "$cpus"; done
	for cpus in 24 4 1; do
		kinds stock "$cpus" --proxy
		kinds stock "$cpus" --clients many
		kinds stock "$cpus" --network veth
		kinds stock "$cpus" --network veth-rps --clients many
	done
	for cpus in 24 4; do kinds stock "$cpus" --tcp-no-metrics-save; done
	options=-a
	guest stock reuseport-cbpf 24
	guest vm fastsocket 24
	;;
*)
	sed -n '3,/^$/s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac

rm -rf "$dir"
mkdir -p "$dir"
note "counting in ${#guests[@]} guests, $(nproc) at a time"
export SCRIPTS=$TOP/scripts DIR=$dir SLICE=$slice SEED=$seed
# The guests do not know of each other, and time is counted by their instructions.
# shellcheck disable=SC2016
printf '%s\n' "${guests[@]}" | xargs -P "$(nproc)" -d "\n" -n 1 bash -c '
	set -- $1
	kernel=$1 cpus=$2 options=${3#-}
	shift 3
	out=$DIR/$(printf "%s %s-cpus %s %s" "$kernel" "$cpus" "$*" "${options:+apparmor}" | sed "s/--connections .* --warm-up [0-9]*//; s/[- ]\{1,\}/-/g; s/-$//").json
	"$SCRIPTS/count.sh" -k "$kernel" ${options:+"-$options"} -c "$cpus" -s "$SLICE" -r "$SEED" "$out" -- "$@" || exit 255
	printf "fastsocket: counted %s\n" "$(basename "$out" .json)" >&2
' count || die "not all could be counted"

compare=("$TOP/build/cargo/release/fastsocket-coherence" compare --cpi "${CPI:-1}" --latency "${LATENCY:-150}"
	--json "$dir.json" --svg "$dir.svg")
[ "${SYMBOLS:-}" != 1 ] || compare+=(--symbols 25)
"${compare[@]}" "$dir"/*.json | tee "$dir.txt"
note "the same is in ${dir#"$TOP/"}.txt, .json and .svg"

[ "$name" = full ] || exit 0
for cpus in 4 8; do
	note "servers of every common shape on $cpus CPUs"
	"$TOP/scripts/shapes.sh" -c "$cpus" -r "$seed" -o "$dir/shapes-$cpus"
	note "the same, and more, is in ${dir#"$TOP/"}/shapes-$cpus"
done
