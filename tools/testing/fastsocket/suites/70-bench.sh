#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The instrument behind every figure: it counts the same twice, and what it counts is plausible.

. "$(dirname "$0")/../tap.sh"

if ! qemu_counts; then
	skip "counting" "QEMU is older than 10.0"
	plan
	exit
fi
dir=$BUILD/logs/count
mkdir -p "$dir"

# count NAME CPUS WORKLOAD-ARGUMENTS
count() {
	local name=$1 cpus=$2
	shift 2
	try "counted: $name" scripts/count.sh -c "$cpus" "$dir/$name.json" -- --connections 10 --warm-up 20 "$@"
}

# holds NAME CONDITION FILE...: a condition of jq on the counts in the files, as an array.
holds() {
	local what=$1 condition=$2
	shift 2
	if jq -es "$condition" "$@" >/dev/null; then
		ok "$what"
	else
		jq -c '[.workload, .regions[0].per_unit]' "$@" | comment
		not_ok "$what"
	fi
}

try "tools: build" scripts/tools.sh build
try "tools: static" scripts/tools.sh static

if count fastsocket 2 --kind fastsocket && count again 2 --kind fastsocket; then
	try "the same inputs give the same bytes" cmp "$dir/fastsocket.json" "$dir/again.json"
	holds "as many connections as were asked for" '.[0].regions[0].units == 20' "$dir/fastsocket.json"
	holds "all accepts are local" '.[0].workload | .accepted == 40 and .accepted_local == 40' "$dir/fastsocket.json"
	holds "transfers have names: data of slabs and per-CPU variables" '
		.[0].regions[0] | ([.objects[].what] | any(startswith("slab ")) and any(startswith("percpu ")))
		and ([.pairs[].what[0]] | any(test("tcp_")))' "$dir/fastsocket.json"
fi
if count single 2 --kind single; then
	holds "one listener costs more than twice the transfers" \
		'(.[0].regions[0].per_unit.kernel_transfers) > 2 * .[1].regions[0].per_unit.kernel_transfers' \
		"$dir/single.json" "$dir/fastsocket.json"
fi
if count alone 1 --kind reuseport; then
	holds "one CPU has nobody to share with" '.[0].regions[0] | .total.kernel_loads + .total.kernel_stores
		+ .total.user_loads + .total.user_stores == 0 and .per_unit.kernel > 50000' "$dir/alone.json"
fi
count proxy 2 --kind fastsocket --proxy --network veth-rps --clients many &&
	holds "a proxy's connections are counted in pairs" \
		'.[1].regions[0].per_unit.kernel > 1.7 * .[0].regions[0].per_unit.kernel' \
		"$dir/alone.json" "$dir/proxy.json"
# Outside of the emulator the marks are NOPs.
workload=build/cargo/x86_64-unknown-linux-gnu/release/coherence-workload
guest workload -c 2 -- "modprobe fastsocket && $workload --kind fastsocket && $workload --kind reuseport-cbpf --proxy"
status=$?
if [ $status = 0 ]; then ok "the workload in an ordinary guest"; else not_ok "the workload: $(guest_status $status)"; fi

try "they are put side by side" build/cargo/release/fastsocket-coherence compare --symbols 3 \
	--json "$dir.json" --svg "$dir.svg" "$dir"/{fastsocket,single,alone,proxy}.json
plan
