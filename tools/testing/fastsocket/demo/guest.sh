#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# guest.sh LIBRARY DEMO_SERVER: what `make demo` runs in the guest. It loads servers without and with
# LIBRARY (libfsocket.so), on the same kernel, and prints what the kernel counted.
#
# Ends 1 if a request failed, or if less than 99 % of the demo server's or nginx's connections were
# accepted on the CPU that received them. REQUESTS and SMALL_REQUESTS are the requests of a run.

set -euo pipefail
cd "$(dirname "$0")"

library=$1 demo_server=$2
requests=${REQUESTS:-20000} small=${SMALL_REQUESTS:-5000}
concurrency=100 threshold=99
cpus=$(nproc)
dir=/run/fastsocket-demo
# Everything is emulated, perhaps on a busy machine: nobody is to lose patience before the guest's
# time is over.
patience=300
server_ip=10.0.0.1 client_ip=10.0.0.2
rows=() failures=() server=''
# shellcheck disable=SC2034
server_ns=server client_ns=client
# Workers run everywhere.
mapfile -t server_cpus < <(seq 0 $((cpus - 1)))
# shellcheck source=tools/testing/fastsocket/network.sh
. ../network.sh

say() { printf '%s\n' "demo: $*"; }
die() { say "$*"; exit 1; }

# Ticks that the kernel took, for the servers and for the client: system, irq and softirq.
kernel_ticks() { awk '$1 == "cpu" { print $4 + $7 + $8 }' /proc/stat; }

# load REQUESTS: what ab has to say goes to $dir/ab; a line of progress.
load() {
	local line
	# One client process, free to move: it disturbs each worker now and then, rather than one all the
	# time.
	in_client ab -r -s $patience -n "$1" -c $concurrency "http://$server_ip/64" 2>&1 >$dir/ab </dev/null |
		while read -r line; do
			case $line in
			'Completed '*) line=${line#Completed } && printf ' %s' "${line% requests}" ;;
			'Finished '* | '') ;;
			*) printf '\ndemo: ab: %s\n' "$line" ;;
			esac
		done || true
	echo
}

# run NAME with|without REQUESTS COMMAND...: load the server that the command starts. Sets ticks.
run() {
	local name=$1 with=$2 n=$3 begin cpu l g f local=0 all=0 share=- accepts='' complete failed bad=''
	shift 3
	network_up
	# The library must work, or the server must not.
	[ "$with" = without ] || set -- env LD_PRELOAD="$library" FSOCKET_STRICT=1 "$@"
	# A process group of its own: lighttpd ends all of its group.
	setsid ip netns exec server "$@" >$dir/log 2>&1 </dev/null &
	server=$!
	wait_until "it listens" listening
	[ "$with" = without ] || wait_until "there are accept queues on all CPUs" has_slots

	printf 'demo: %s, %s libfsocket.so:' "$name" "$with"
	begin=$(kernel_ticks)
	load "$n"
	ticks=$(($(kernel_ticks) - begin))

	read -r complete failed _ < <(ab_sum $dir/ab)
	[ "$complete" = "$n" ] && [ "$failed" = 0 ] || bad="of $n requests, $complete ended and $failed failed"
	for ((cpu = 0; cpu < cpus; cpu++)); do
		l=$(stat fsocket_stats accept_local $cpu)
		g=$(stat fsocket_stats accept_global $cpu)
		f=$(stat fsocket_stats accept_foreign $cpu)
		local=$((local + l)) all=$((all + l + g + f))
		accepts+=$(printf '%18s' "$l/$g/$f")
	done
	if [ "$with" = with ]; then
		[ $all -ge "$n" ] || bad="${bad:+$bad; }only $all of $n connections came through fastsocket"
		[ $all = 0 ] || share=$(awk "BEGIN { printf \"%.2f %%\", 100 * $local / $all }")
		case $name in
		'demo server' | nginx)
			[ $((local * 100)) -ge $((all * threshold)) ] ||
				bad="${bad:+$bad; }the local share is under $threshold %" ;;
		esac
	else
		# The kernel counts for spawned sockets only.
		accepts=$(printf '%18s' '-' '-' '-' '-')
	fi
	if [ -n "$bad" ] || [ -n "${VERBOSE:-}" ]; then
		cat $dir/log $dir/ab
		in_server cat /proc/net/fsocket_stats /proc/net/hash_stat
		in_server nstat -az TcpExtListenDrops TcpExtListenOverflows TcpOutRsts TcpRetransSegs TcpExtTCPTimeWaitOverflow
	fi
	[ -z "$bad" ] || failures+=("$name, $with libfsocket.so: $bad")

	kill "$server"
	wait "$server" || true
	network_down
	row=$(printf '%-12s %-8s %8s %7s %s %9s' "$name" "$with" "$complete" "$failed" "$accepts" "$share")
}

# scene NAME COMMAND...: without the library, then with it.
scene() {
	local name=$1 plain
	shift
	run "$name" without "$requests" "$@"
	rows+=("$row        1.00")
	plain=$ticks
	run "$name" with "$requests" "$@"
	rows+=("$row $(awk "BEGIN { printf \"%11.2f\", $ticks / ($plain ? $plain : 1) }")")
}

once() {
	run "$1" with "$small" "${@:2}"
	rows+=("$row           -")
}

ulimit -n 65536
mkdir -p $dir/www
printf '%063d\n' 0 >$dir/www/64
modprobe fastsocket enable_listen_spawn=2 || die "the module does not load"

scene 'demo server' "$demo_server" -a 0.0.0.0:80
scene nginx nginx -c "$PWD/nginx.conf"
once HAProxy haproxy -db -f haproxy.cfg
once lighttpd lighttpd -D -f lighttpd.conf

head=$(printf '%-12s %-8s %8s %7s %s %9s %11s' server library requests failed \
	"$(for ((cpu = 0; cpu < cpus; cpu++)); do printf '%18s' "CPU $cpu"; done)" local 'kernel time')
cat <<END

Connections accepted on each CPU: local / global / foreign, that is: of the CPU's own queue, of the
socket's, of another CPU's. "local" is their share of all. The kernel's time, client's included, is
relative to the run without the library; emulated CPUs say little about time.

$head
$(printf '%s\n' "${rows[@]}")

END
[ ${#failures[@]} = 0 ] || { printf 'demo: FAILED: %s\n' "${failures[@]}"; exit 1; }
say "every request was answered, and at least $threshold % were accepted where they had arrived"
