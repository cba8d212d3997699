#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The instruments behind every figure: they count the same twice, and what they count is plausible. And some of the
# servers of every common shape, on spawned sockets as well as on plain ones.

. "$(dirname "$0")/../tap.sh"

if ! qemu_counts; then
	skip "counting" "QEMU is older than 10.0"
	plan
	exit
fi
dir=$BUILD/logs/count
mkdir -p "$dir"

# The guests that are counted in: NAME CPUS OPTIONS WORKLOAD-ARGUMENTS, where - is no option of count.sh.
guests=(
	"fastsocket 2 - --kind fastsocket"
	"again 2 - --kind fastsocket"
	"single 2 - --kind single"
	"alone 1 - --kind reuseport"
	"delivered 2 - --kind fastsocket-rfd"
	"stray 2 - --kind single --stray"
	"stray-delivered 2 - --kind fastsocket-rfd --stray"
	"forgetful 2 - --kind fastsocket --tcp-no-metrics-save"
	"guarded 2 -a --kind fastsocket"
	"proxy 2 - --kind fastsocket --proxy --network veth-rps --clients many"
)

# Each is one thread of QEMU: as many at a time as there are CPUs.
count_all() {
	export DIR=$dir
	# shellcheck disable=SC2016
	printf '%s\n' "${guests[@]}" | xargs -P "$(nproc)" -d "\n" -n 1 bash -c '
		set -- $1
		name=$1 cpus=$2 option=${3#-}
		shift 3
		scripts/count.sh ${option:+"-$option"} -c "$cpus" "$DIR/$name.json" -- --connections 10 --warm-up 20 "$@" 2>&1 |
			sed "s/^/# $name: /"
	' count
}

# counted NAME: whether there are counts of that guest.
counted() {
	if [ -s "$dir/$1.json" ]; then ok "counted: $1"; else not_ok "counted: $1"; return 1; fi
}

# holds NAME CONDITION FILE...: a condition of jq on the counts in the files, as an array.
holds() {
	local what=$1 condition=$2
	shift 2
	if jq -es "$condition" "$@" >/dev/null; then
		ok "$what"
	else
		jq -c 'if type == "array" then .[] | del(.runs) else [.workload, .regions[0].per_unit] end' "$@" | comment
		not_ok "$what"
	fi
}

try "tools: build" scripts/tools.sh build
try "tools: static" scripts/tools.sh static

rm -f "$dir"/*.json
count_all
if counted fastsocket && counted again; then
	try "the same inputs give the same bytes" cmp "$dir/fastsocket.json" "$dir/again.json"
	holds "as many connections as were asked for" '.[0].regions[0].units == 20' "$dir/fastsocket.json"
	holds "all accepts are local" '.[0].workload | .accepted == 40 and .accepted_local == 40' "$dir/fastsocket.json"
	holds "transfers have names: data of slabs and per-CPU variables" '
		.[0].regions[0] | ([.objects[].what] | any(startswith("slab ")) and any(startswith("percpu ")))
		and ([.pairs[].what[0]] | any(test("tcp_")))' "$dir/fastsocket.json"
	holds "instructions by function, by entry and by path have the total as their sum" '
		.[0].regions[0] | .total.kernel == ([.profile.functions[].count] | add)
		and .total.kernel == ([.profile.entries[].own] | add)
		and .total.kernel == ([.profile.paths[].count] | add)' "$dir/fastsocket.json"
	# Who is blocked in one system call would be seen to make another, had it what others do.
	holds "each entry has its return, and a connection one accept and one connect" '
		.[0].regions[0].profile | .unpaired == 0
		and ([.entries[] | select(.what == "syscall accept4" or .what == "syscall connect") | .entered] == [20, 20])
		and ([.entries[] | select(.what == "softirq net_rx") | .entered > 20] == [true])
		and ([.functions[].what] | any(startswith("tcp_v4_rcv")) and any(endswith("[fastsocket]")))' \
		"$dir/fastsocket.json"
fi
if counted single; then
	holds "one listener costs more than twice the transfers" \
		'(.[0].regions[0].per_unit.kernel_transfers) > 2 * .[1].regions[0].per_unit.kernel_transfers' \
		"$dir/single.json" "$dir/fastsocket.json"
fi
if counted alone; then
	holds "one CPU has nobody to share with" '.[0].regions[0] | .total.kernel_loads + .total.kernel_stores
		+ .total.user_loads + .total.user_stores == 0 and .per_unit.kernel > 50000' "$dir/alone.json"
fi
# A client's connections are at home on its CPU, at both ends.
counted delivered && holds "where active connections stay the established table is not moved" '
	def moved: [.regions[0].pairs[] | select(.what[0] | test("ehash|established|inet_unhash")) | .count] | add // 0;
	10 * (.[0] | moved) < (.[1] | moved)' "$dir/delivered.json" "$dir/fastsocket.json"
# A flood of what belongs to no connection: it may be at two places.
counted stray && counted stray-delivered && holds "a segment without a connection costs no more than 1.1 of plain" '
	def softirq: .regions[0].profile | [.entries[] | select(.what == "softirq net_rx") | .inclusive] | add;
	(.[0] | softirq) > 0 and (.[1] | softirq) <= 1.1 * (.[0] | softirq)' "$dir"/stray{,-delivered}.json
# Of 30 transfers by so few connections, those of others may be more at one time.
counted forgetful && holds "without TCP's metrics of peers their lines are not moved" '
	def moved: [.regions[0].pairs[] | select(.what[0] | test("^tcp_[a-z]+_metrics")) | .count] | add // 0;
	.[0].workload.tcp_no_metrics_save and 10 * (.[0] | moved) < (.[1] | moved)' \
	"$dir/forgetful.json" "$dir/fastsocket.json"
counted guarded && holds "AppArmor is on when it is asked for, and costs instructions" '
	.[0].workload.apparmor and (.[1].workload.apparmor | not)
	and .[0].regions[0].per_unit.kernel > .[1].regions[0].per_unit.kernel' \
	"$dir/guarded.json" "$dir/fastsocket.json"
# Nobody has a profile there.
counted guarded && holds "references to the label of the unconfined are not moved" '
	[.[0].regions[0].pairs[] | select(.what[0] | test("^(apparmor_|aa_)")) | .count] | add // 0 | . == 0' \
	"$dir/guarded.json"
counted proxy &&
	holds "a proxy's connections are counted in pairs" \
		'.[1].regions[0].per_unit.kernel > 1.7 * .[0].regions[0].per_unit.kernel' \
		"$dir/alone.json" "$dir/proxy.json"
# Outside of the emulator the marks are NOPs.
workload=build/cargo/x86_64-unknown-linux-gnu/release/coherence-workload
guest workload -c 2 -- "modprobe fastsocket && $workload --kind fastsocket && $workload --kind reuseport-cbpf --proxy"
status=$?
if [ $status = 0 ]; then ok "the workload in an ordinary guest"; else not_ok "the workload: $(guest_status $status)"; fi

try "they are put side by side" build/cargo/release/fastsocket-coherence compare --symbols 3 \
	--json "$dir.json" --svg "$dir.svg" "$dir"/{fastsocket,single,alone,delivered,forgetful,guarded,proxy}.json

# Servers by shape. Of a plain socket's rate and delay some percent are chance: performance.rst.
shapes=$BUILD/logs/shapes
short=(epoll -- --handlers none --clients each --warm-up 20 --window 50)
try "shapes: run once" scripts/shapes.sh -o "$shapes/once" "${short[@]}" &&
	try "shapes: and again" scripts/shapes.sh -o "$shapes/again" "${short[@]}" &&
	try "shapes: the same inputs give the same bytes" cmp "$shapes"/{once,again}/table.json
if try "shapes: four servers that compute for a millisecond" \
	scripts/shapes.sh -o "$shapes/some" epoll block lockepoll select -- \
	--handlers work:1000 --clients one,each,elsewhere; then
	table=$shapes/some/table.json
	holds "shapes: all have run" '.[0] | length == 12 and all(.runs.plain.answered > 300)' "$table"
	holds "shapes: all connections are answered" '.[0] | all(.failed == 0 and .runs.plain.failed == 0)' "$table"
	holds "shapes: about as many as on plain sockets" '.[0] | all(.rate >= 0.85)' "$table"
	holds "shapes: none waits much longer" '.[0] | all(.p99 <= 1.6)' "$table"
	holds "shapes: no timer moves any" '.[0] | all(.pushed == 0)' "$table"
fi
if try "shapes: servers that are not at their limit" \
	scripts/shapes.sh -o "$shapes/few" epoll uring -- --handlers work:100 --clients each --families ipv6 --at-a-time 4; then
	holds "shapes: not at their limit, as many as on plain sockets" '.[0] | all(.rate >= 0.85 and .failed == 0)' \
		"$shapes/few/table.json"
fi
# Who sleeps in a request, or never accepts, is not waited for.
if try "shapes: members and watchers" \
	scripts/shapes.sh -o "$shapes/others" reuseport watcher -- \
	--handlers sleep:1000 --clients one,elsewhere --at-a-time 2; then
	holds "shapes: as many as on plain sockets" '.[0] | all(.rate >= 0.8)' "$shapes/others/table.json"
fi
plan
