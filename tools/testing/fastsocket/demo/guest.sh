#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# guest.sh LIBRARY DEMO_SERVER: what `make demo` runs in the guest. It loads servers without and with
# LIBRARY (libfsocket.so), on the same kernel, and prints what the kernel counted.
#
# Ends 1 if a request failed, or if the kernel did not put at least 99 % of the demo server's or nginx's
# connections into the queue of the CPU where they arrived. Where they were accepted is shown, and fails nothing:
# the machine under the guest can stop a CPU for as long as it likes, and then others help.
#
# REQUESTS and SMALL_REQUESTS are the requests of a run.

set -euo pipefail
cd "$(dirname "$0")"

library=$1 demo_server=$2
requests=${REQUESTS:-20000} small=${SMALL_REQUESTS:-5000}
concurrency=100 threshold=99
# The last CPU is the client's, which over a network would be another machine.
cpus=$(($(nproc) - 1))
dir=/run/fastsocket-demo
# Everything is emulated, perhaps on a busy machine: nobody is to lose patience before the guest's
# time is over.
patience=300
server_ip=10.0.0.1 client_ip=10.0.0.2
rows=() failures=() server=''
# shellcheck disable=SC2034
server_ns=server client_ns=client
mapfile -t server_cpus < <(seq 0 $((cpus - 1)))
# shellcheck source=tools/testing/fastsocket/network.sh
. ../network.sh

say() { printf '%s\n' "demo: $*"; }
die() { say "$*"; tail -n 20 $dir/log; exit 1; }

# Ticks that the kernel took, for the servers and for the client: system, irq and softirq.
kernel_ticks() { awk '$1 == "cpu" { print $4 + $7 + $8 }' /proc/stat; }

# load REQUESTS: what ab has to say goes to $dir/ab; a line of progress.
load() {
	local line
	in_client taskset -c "$cpus" ab -r -s $patience -n "$1" -c $concurrency "http://$server_ip/64" 2>&1 >$dir/ab </dev/null |
		while read -r line; do
			case $line in
			'Completed '*) line=${line#Completed } && printf ' %s' "${line% requests}" ;;
			'Finished '* | '') ;;
			*) printf '\ndemo: ab: %s\n' "$line" ;;
			esac
		done || true
	echo
}

# share PART ALL: in per cent, or "-" of nothing.
share() { awk -v part="$1" -v all="$2" 'BEGIN { if (all) printf "%.2f %%", 100 * part / all; else printf "-" }'; }
# enough PART ALL: whether it is.
enough() { [ $(($1 * 100)) -ge $(($2 * threshold)) ]; }

# complain WHAT: of this run.
complain() { bad=${bad:+$bad; }$1; }

# count_accepts: what each CPU accepted, and how much of all was accepted where it had arrived. Sets columns.
count_accepts() {
	local cpu l g f local=0 all=0 seen queued stolen pushed
	columns=''
	for ((cpu = 0; cpu < cpus; cpu++)); do
		l=$(stat fsocket_stats accept_local $cpu)
		g=$(stat fsocket_stats accept_global $cpu)
		f=$(stat fsocket_stats accept_foreign $cpu)
		local=$((local + l)) all=$((all + l + g + f))
		columns+=$(printf '%15s' "$l/$g/$f")
	done
	stolen=$(stat fsocket_stats stolen total) pushed=$(stat fsocket_stats pushed total)
	queued=$(stat hash_stat lookup_local total)
	seen=$((queued + $(stat hash_stat lookup_global total)))
	# Those that arrive where there is no queue are not among them, but are accepted.
	[ $seen -ge $all ] || seen=$all
	columns+=$(printf ' %9s %9s %7s %7s' "$(share "$queued" $seen)" "$(share $local $all)" "$stolen" "$pushed")

	[ $all -ge "$n" ] || complain "only $all of $n connections came through fastsocket"
	case $name in
	'demo server' | nginx)
		enough "$queued" $seen || complain "of $seen connections, $queued were put into the queue of their CPU"
		;;
	esac
}

# The kernel counts for spawned sockets only.
no_accepts() {
	local cpu
	columns=''
	for ((cpu = 0; cpu < cpus; cpu++)); do columns+=$(printf '%15s' -); done
	columns+=$(printf ' %9s %9s %7s %7s' - - - -)
}

# run NAME with|without REQUESTS COMMAND...: load the server that the command starts. Sets row and ticks.
run() {
	local name=$1 with=$2 n=$3 begin columns complete failed bad=''
	shift 3
	network_up
	# The library must work, or the server must not.
	[ "$with" = without ] || set -- env LD_PRELOAD="$library" FSOCKET_STRICT=1 "$@"
	# A process group of its own: lighttpd ends all of its group.
	setsid taskset -c "0-$((cpus - 1))" ip netns exec server "$@" >$dir/log 2>&1 </dev/null &
	server=$!
	wait_until "it listens" listening
	[ "$with" = without ] || wait_until "there are accept queues on all CPUs" has_slots

	printf 'demo: %s, %s libfsocket.so:' "$name" "$with"
	begin=$(kernel_ticks)
	load "$n"
	ticks=$(($(kernel_ticks) - begin))

	read -r complete failed _ < <(ab_sum $dir/ab)
	[ "$complete $failed" = "$n 0" ] || complain "of $n requests, $complete ended and $failed failed"
	if [ "$with" = with ]; then count_accepts; else no_accepts; fi
	if [ -n "$bad" ] || [ -n "${VERBOSE:-}" ]; then
		cat $dir/log $dir/ab
		in_server cat /proc/net/fsocket_stats /proc/net/hash_stat
		in_server nstat -az TcpExtListenDrops TcpExtListenOverflows TcpOutRsts TcpRetransSegs TcpExtTCPTimeWaitOverflow
	fi
	[ -z "$bad" ] || failures+=("$name, $with libfsocket.so: $bad")

	kill "$server"
	wait "$server" || true
	network_down
	row=$(printf '%-12s %-8s %8s %7s%s' "$name" "$with" "$complete" "$failed" "$columns")
}

# scene NAME COMMAND...: without the library, then with it.
scene() {
	local name=$1 plain
	shift
	run "$name" without "$requests" "$@"
	rows+=("$row $(printf "%11s" 1.00)")
	plain=$ticks
	run "$name" with "$requests" "$@"
	rows+=("$row $(awk "BEGIN { printf \"%11.2f\", $ticks / ($plain ? $plain : 1) }")")
}

once() {
	run "$1" with "$small" "${@:2}"
	rows+=("$row $(printf "%11s" -)")
}

ulimit -n 65536
mkdir -p $dir/www
printf '%063d\n' 0 >$dir/www/64
modprobe fastsocket enable_listen_spawn=2 || die "the module does not load"

scene 'demo server' "$demo_server" -a 0.0.0.0:80
scene nginx nginx -c "$PWD/nginx.conf"
once HAProxy haproxy -db -f haproxy.cfg
once lighttpd lighttpd -D -f lighttpd.conf

head=$(printf '%-12s %-8s %8s %7s%s %9s %9s %7s %7s %11s' server library requests failed \
	"$(for ((cpu = 0; cpu < cpus; cpu++)); do printf '%15s' "CPU $cpu"; done)" queued local stolen pushed 'kernel time')
cat <<END

Connections accepted on each CPU: local / global / foreign, that is: of the CPU's own queue, of the
socket's, of another CPU's. "queued" is the share that the kernel put into the queue of the CPU that
received them, "local" the share of the connections that were accepted there. Of the others, the worker ran
elsewhere, or was busy for too long, as it easily is on an emulated CPU: an idle one took them ("stolen"), or they went
back to all workers ("pushed"). The client has a CPU of its own. The kernel's time, client's included, is
relative to the run without the library.

$head
$(printf '%s\n' "${rows[@]}")

END
[ ${#failures[@]} = 0 ] || { printf 'demo: FAILED: %s\n' "${failures[@]}"; exit 1; }
say "every request was answered, and at least $threshold % of the connections went to the queue of their CPU"
