#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# live.sh LIBRARY DEMO_SERVER [REASON...]: what `make bench-live` runs where the kernel is. It loads
# servers on plain sockets and on Fastsocket's, in turn, on the same kernel, and prints how they compare:
# ratios and their spread, no rate. REASONs are why the figures mean nothing on this machine.
#
#   kind        how the workers share the port
#   single      one listening socket, as the kernel has it
#   reuseport   a socket for each worker, by SO_REUSEPORT, where the server can
#   fastsocket  one listening socket, with LIBRARY (libfsocket.so)
#
# ROUNDS (5) is how often each kind of each server is run; REQUESTS the requests of a run, by default
# as many as take about RUN_SECONDS (5). Ends 1 if a request failed, and never for what the ratios are.
#
# It can run on a machine that has other things to do: what it makes is in namespaces and in a
# directory of its own, and is gone at the end, by whatever signal that comes.

set -euo pipefail
umask 022
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd -P)

library=$1 demo_server=$2
shift 2
reasons=("$@")
rounds=${ROUNDS:-5} requests=${REQUESTS:-} run_seconds=${RUN_SECONDS:-5}
servers=(demo nginx HAProxy) kinds=(single reuseport fastsocket)
# Of one load process.
concurrency=50
# CPUs may be emulated: nobody is to lose patience before the time is over.
patience=300
# The second is the backend's; those of the load are client_ips.
server_ip=10.0.0.1 client_ip=10.0.0.254
# shellcheck disable=SC2034
server_ns=fastsocket-live-server-$$ client_ns=fastsocket-live-client-$$
dir='' server='' backend='' loaded_module='' failures=()
# shellcheck source=tools/testing/fastsocket/network.sh
. "$here/../network.sh"
# shellcheck source=tools/testing/fastsocket/live/cpus.sh
. "$here/cpus.sh"

say() { printf '%s\n' "live: $*"; }
die() {
	say "$*"
	[ -z "$dir" ] || cat "$dir"/log* 2>/dev/null || true
	exit 1
}

# The connections of a namespace hold the module for a moment after the namespace is gone.
unload() {
	local begin=$SECONDS
	until modprobe -q -r fastsocket 2>/dev/null || [ ! -e /sys/module/fastsocket ]; do
		[ $((SECONDS - begin)) -lt $patience ] || { say "the module cannot be unloaded"; return; }
		sleep 0.1
	done
}

clean_up() {
	local status=$? ns
	trap - EXIT
	trap '' INT TERM HUP
	# Whatever runs in the namespaces is ours. That it was killed is no news.
	{
		for ns in "$server_ns" "$client_ns"; do
			[ -e "/run/netns/$ns" ] || continue
			ip netns pids "$ns" | xargs -r kill -KILL || true
			ip netns del "$ns" || true
		done
		wait
	} 2>/dev/null
	[ -z "$dir" ] || rm -rf "$dir"
	[ -z "$loaded_module" ] || unload
	exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# --- servers -------------------------------------------------------------------------------------

# nginx_conf WORKERS ADDRESS OPTIONS: the demo's configuration, for these. Prints the file's name.
nginx_conf() {
	local file=$dir/nginx-${2#*:}.conf
	sed "s|/run/fastsocket-demo/nginx|$dir/nginx-${2#*:}|; s|/run/fastsocket-demo|$dir|
		s/^worker_processes .*/worker_processes $1;/
		s/listen 80;/listen $2 backlog=4096 $3;/" "$here/../demo/nginx.conf" >"$file"
	echo "$file"
}

# command_of SERVER KIND: sets command and listeners, the number of its listening sockets. Fails if the
# server has no such kind.
command_of() {
	local workers=${#server_cpus[@]} option=''
	listeners=1
	[ "$2" != reuseport ] || listeners=$workers
	case $1 in
	demo)
		[ "$2" != reuseport ] || return 1
		command=("$demo_server" -w "$workers" -a 0.0.0.0:80)
		;;
	nginx)
		[ "$2" != reuseport ] || option=reuseport
		command=(nginx -c "$(nginx_conf "$workers" 0.0.0.0:80 "$option")")
		;;
	HAProxy)
		command=(env THREADS="$workers" SHARDS=1 MULTI_QUEUE=on BACKEND="$client_ip:8080"
			haproxy -db -f "$here/haproxy.cfg")
		case $2 in
		reuseport) command[2]=SHARDS=by-thread ;;
		fastsocket) command[3]=MULTI_QUEUE=off ;;
		esac
		;;
	esac
	# Without, the server must not work: the library must.
	[ "$2" != fastsocket ] || command=(env LD_PRELOAD="$library" FSOCKET_STRICT=1 "${command[@]}")
	[ ${#load_cpus[@]} = 0 ] || command=(taskset -c "$(IFS=,; echo "${server_cpus[*]}")" "${command[@]}")
}

# Its processes, or its threads if it is one process.
workers() { pgrep -P "$server" || ls "/proc/$server/task"; }
has_workers() { [ "$(workers | wc -l)" -ge ${#server_cpus[@]} ]; }

# Fastsocket binds a worker to a CPU. The other kinds are not to lose by being moved about, which is
# not what is compared.
bind_workers() {
	local i=0 worker
	for worker in $(workers); do
		taskset -cp "${server_cpus[i++ % ${#server_cpus[@]}]}" "$worker" >/dev/null
	done
}

# What HAProxy relays to, the same for all kinds: with the load, and so where that is.
start_backend() {
	local cpus=("${load_cpus[@]}") address=$client_ip:8080
	[ ${#cpus[@]} -gt 0 ] || cpus=("${server_cpus[@]}")
	setsid ip netns exec "$client_ns" taskset -c "$(IFS=,; echo "${cpus[*]}")" \
		nginx -c "$(nginx_conf ${#cpus[@]} $address reuseport)" >"$dir/log.backend" 2>&1 </dev/null &
	server=$!
	backend=$!
	wait_until "the backend listens" backend_listens ${#cpus[@]}
}
backend_listens() { [ "$(in_client ss -Hltn sport = :8080 | wc -l)" -ge "$1" ]; }

stop() {
	kill "$1" 2>/dev/null || true
	wait "$1" || true
}

# --- the load ------------------------------------------------------------------------------------

# ab: it makes a connection for each request by itself, ends after a number of requests and not in the
# middle of one, and tells of each that failed. wrk, which stops by the clock, leaves connections
# unfinished at each run's end. That ab has one thread is made up for by one process for each CPU.
#
# load REQUESTS: sets rate, failed and sent; ab's reports are in $dir/ab.*.
load() {
	local i each complete longest pin=() loads=()
	each=$(($1 / load_processes))
	[ "$each" -ge $concurrency ] || each=$concurrency
	for ((i = 0; i < load_processes; i++)); do
		[ ${#load_cpus[@]} = 0 ] || pin=(taskset -c "${load_cpus[i]}")
		# An address of its own gives each process all ports.
		in_client "${pin[@]}" ab -q -r -s $patience -n $each -c $concurrency \
			-B "${client_ips[i % ${#client_ips[@]}]}" "http://$server_ip/64" >"$dir/ab.$i" 2>&1 </dev/null &
		loads+=($!)
	done
	# What went wrong is in the reports.
	wait "${loads[@]}" || true

	read -r complete failed longest < <(ab_sum "$dir"/ab.*)
	failed=$((failed + each * load_processes - complete))
	sent=$((each * load_processes))
	rate=$(awk "BEGIN { print ($longest > 0 ? $complete / $longest : 0) }")
}

# --- runs ----------------------------------------------------------------------------------------

# run SERVER KIND REQUESTS: one run. Sets rate, kernel, share, busy and failed.
run() {
	local before after all foreign global
	command_of "$1" "$2"
	network_up
	printf 'addr add %s/24 dev veth0\n' "${client_ips[@]}" | ip -n "$client_ns" -batch -
	[ ${#load_cpus[@]} = 0 ] || spread_flows "$client_ns" "${load_cpus[@]}"
	# A relay is the backend's client.
	in_server sysctl -qw net.core.txrehash=0 net.ipv4.ip_local_port_range='1024 65535'
	in_client sysctl -qw net.ipv4.tcp_max_tw_buckets=$tw_buckets

	[ "$1" != HAProxy ] || start_backend
	setsid ip netns exec "$server_ns" "${command[@]}" >"$dir/log" 2>&1 </dev/null &
	server=$!
	wait_until "$1 listens" listening "$listeners"
	wait_until "$1 has its workers" has_workers
	if [ "$2" = fastsocket ]; then
		wait_until "there are accept queues on all CPUs" has_slots
	else
		bind_workers
	fi

	read -r -a before < <(cpu_times "${server_cpus[@]}")
	load "$3"
	read -r -a after < <(cpu_times "${server_cpus[@]}")
	all=$((after[3] - before[3]))
	kernel=$(awk "BEGIN { print $((after[0] - before[0])) / $sent }")
	busy=$(percent $((all - after[1] + before[1])) $all)
	stolen=$((stolen + after[2] - before[2])) ticks=$((ticks + all))

	share=-
	if [ "$2" = fastsocket ]; then
		share=$(stat fsocket_stats accept_local total)
		global=$(stat fsocket_stats accept_global total)
		foreign=$(stat fsocket_stats accept_foreign total)
		all=$((share + global + foreign))
		[ $all -ge $sent ] || failures+=("$1, $2: only $all of $sent connections came through fastsocket")
		share=$(awk "BEGIN { print $all ? 100 * $share / $all : 0 }")
	fi
	if [ "$failed" != 0 ]; then
		failures+=("$1, $2: of $sent requests, $failed failed")
		cat "$dir"/log "$dir"/ab.*
		in_server nstat -az TcpExtListenDrops TcpExtListenOverflows TcpOutRsts TcpRetransSegs TcpExtTCPTimeWaitOverflow
	fi

	stop "$server"
	[ -z "$backend" ] || stop "$backend"
	backend=''
	network_down
}

# warm_up SERVER: sets per_run[SERVER], the requests that take about as long as a run shall.
warm_up() {
	local n=${requests:-500}
	run "$1" single "$n"
	if [ -z "$requests" ]; then
		# What ended at once says little about how long more would take.
		while [ "$failed" = 0 ] && awk "BEGIN { exit !($sent < $rate) }"; do
			n=$((n * 4))
			run "$1" single $n
		done
		n=$(awk "BEGIN { printf \"%d\", $rate * $run_seconds }")
	fi
	per_run[$1]=$n
}

# round N SERVER: all kinds, another one first in each round.
round() {
	local n=$1 name=$2 i kind own=()
	for kind in "${kinds[@]}"; do
		if command_of "$name" "$kind"; then
			own+=("$kind")
		elif [ "$n" = 1 ]; then
			printf '%s\t%s\t-\n' "$name" "$kind" >>"$dir/runs"
		fi
	done
	printf 'live: round %s of %s, %s:' "$n" "$rounds" "$name"
	for ((i = 0; i < ${#own[@]}; i++)); do
		kind=${own[(i + n - 1) % ${#own[@]}]}
		printf ' %s' "$kind"
		run "$name" "$kind" "${per_run[$name]}"
		printf '%s\t' "$name" "$kind" "$n" "$rate" "$kernel" "$share" "$busy" >>"$dir/runs"
		echo "$failed" >>"$dir/runs"
	done
	echo
}

# Said at the head and at the end.
verdict() {
	if [ ${#reasons[@]} = 0 ]; then
		say "nothing was seen that makes this machine too small or too busy to compare speeds"
	else
		say "TOO SMALL, OR TOO BUSY: on this machine the ratios say nothing about the speed of servers, since"
		printf '    - %s\n' "${reasons[@]}"
	fi
}

[ "$(id -u)" = 0 ] || die "only root can make network namespaces"
[ "$rounds" -ge 1 ] || die "ROUNDS=$rounds: at least 1"
ulimit -n 65536
dir=$(mktemp -d /run/fastsocket-live.XXXXXX)
chmod 755 "$dir"
mkdir "$dir/www"
printf '%063d\n' 0 >"$dir/www/64"

if grep -q '^model name.*QEMU TCG' /proc/cpuinfo; then
	reasons+=("its CPUs are emulated: FASTSOCKET_KVM=1 uses /dev/kvm, where that works")
fi
split_cpus
if [ ${#load_cpus[@]} = 0 ]; then
	separate='' load_processes=$(((${#server_cpus[@]} + 1) / 2))
	where="${#server_cpus[@]} CPUs for servers and load together"
	reasons+=("there are ${#server_cpus[@]} CPUs: under 8, the load runs on those of the servers")
else
	separate=1 load_processes=${#load_cpus[@]}
	where="CPUs ${server_cpus[*]} for the servers, CPUs ${load_cpus[*]} for the load"
fi
client_ips=()
for ((i = 0; i < load_processes && i < 200; i++)); do
	client_ips+=("10.0.0.$((2 + i))")
done
# TIME_WAIT for every port of every client.
tw_buckets=$((65536 * (${#client_ips[@]} + 4)))

if [ ! -e /proc/net/fsocket_stats ]; then
	modprobe fastsocket enable_listen_spawn=2 || die "the module does not load"
	loaded_module=1
elif [ "$(cat /sys/module/fastsocket/parameters/enable_listen_spawn)" != 2 ]; then
	die "the module is loaded with another enable_listen_spawn than 2, which is what is compared"
fi
used=$(busy_now)
[ "$used" -le 5 ] || reasons+=("others took $used % of its CPU time before we began")

say "$where; $load_processes processes of ab, with $concurrency connections each"
verdict
stolen=0 ticks=0
declare -A per_run
for name in "${servers[@]}"; do
	warm_up "$name"
	say "$name: ${per_run[$name]} requests a run"
done
: >"$dir/runs"
for ((n = 1; n <= rounds; n++)); do
	for name in "${servers[@]}"; do
		round $n "$name"
	done
done
used=$(busy_now)
[ "$used" -le 5 ] || reasons+=("others took $used % of its CPU time when we had ended")
stolen=$(percent $stolen $ticks)
[ "$stolen" -lt 1 ] || reasons+=("$stolen % of its CPU time was taken by the host for others")

cat <<END

Ratios to the run of kind "single" of the same server and round: their median, and in brackets the least and
the greatest. "single" itself is compared with its own median. "kernel time" is the CPU time in the kernel for
a request, on the servers' CPUs; "local" the share of connections that were accepted where they had arrived;
"busy" the share of the servers' CPU time that was used. Rounds: $rounds.

$("$here/ratios.awk" -v separate=$separate "$dir/runs")

END
verdict
[ ${#failures[@]} = 0 ] || { printf 'live: FAILED: %s\n' "${failures[@]}"; exit 1; }
say "every request was answered"
