#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Servers without libfsocket.so: a static one in Go, of one process and of
# several, and asyncio workers in Python. Each is started by `fastsocket run`,
# and at an address that `fastsocket mark` has marked.

# shellcheck disable=SC2317
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

REQUESTS=$((${FASTSOCKET_REQUESTS:-3000} / 3))
FEW=$((REQUESTS / 10))
BUILT=${FASTSOCKET_BUILT:-$DIR/../../cargo/release}
PORT=$((${FASTSOCKET_PORT:-18480}))
OTHER=$((PORT + 1))
CPUS=$(nproc)
WORKERS=$CPUS
CLIENTS=8
# Nobody is to lose patience before the harness does.
WAIT_S=300
SRV=fssrv-$$
CLI=fscli-$$

for program in ab ss setpriv; do
	command -v $program >/dev/null || skip_all "$program"
done
[ -x "$BUILT/fastsocket" ] || skip_all "$BUILT/fastsocket"
modprobe -q fastsocket
[ -e /dev/fastsocket ] || skip_all "fastsocket"
ip netns add "$SRV" || skip_all "network namespaces"

dir=$(mktemp -d)
server='' neighbour=''
cleanup()
{
	[ -z "$neighbour" ] || kill -KILL "$neighbour" 2>/dev/null
	[ -z "$server" ] || kill -TERM "$server" 2>/dev/null
	wait 2>/dev/null
	ip netns del "$SRV"
	ip netns del "$CLI" 2>/dev/null
	rm -r "$dir"
}
trap cleanup EXIT

# For users who may not look into the place where they were built.
chmod 755 "$dir"
install -m 755 "$BUILT/fastsocket" "$DIR/fstool" "$dir/"
fastsocket=$dir/fastsocket

ip netns add "$CLI"
ip link add veth0 netns "$SRV" type veth peer name veth0 netns "$CLI" || skip_all "veth"
ip -n "$SRV" addr add 192.0.2.1/24 dev veth0
ip -n "$CLI" addr add 192.0.2.2/24 dev veth0
for ns in "$SRV" "$CLI"; do
	ip -n $ns link set lo up
	ip -n $ns link set veth0 up
	ip netns exec $ns sysctl -qw net.ipv4.tcp_max_tw_buckets=262144 \
		net.ipv4.ip_local_port_range='1024 65535'
done
# A flow's packets come to the same CPU, even those that are sent again.
ip netns exec "$CLI" sysctl -qw net.core.txrehash=0
rps=$(printf '%x' $(((1 << CPUS) - 1)))
ip netns exec "$SRV" sh -c "echo $rps >/sys/class/net/veth0/queues/rx-0/rps_cpus" ||
	skip_all "RPS"

srv() { ip netns exec "$SRV" "$@"; }
as_nobody() { srv setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
listens() { [ -n "$(srv ss -Hltn sport = ":$1")" ]; }
listens_not() { ! listens "$1"; }

# What the kernel has counted in the server's namespace since the last snap,
# for a CPU or all.
stats() { srv cat /proc/net/fsocket_stats; }
snap() { stats >"$dir/before"; }
grown()
{
	local column=$1 line=${2:-total} now

	now=$(stats | stat_column "$column" "$line")
	echo $((now - $(stat_column "$column" "$line" <"$dir/before")))
}
spawned() { echo "$(grown listen) $(grown marked)"; }
spawned_is() { [ "$(spawned)" = "$1" ]; }
each_cpu_serves()
{
	local i

	for ((i = 0; i < CPUS; i++)); do
		[ "$(grown accept_local "$i")" -gt 0 ] || return 1
	done
}
workers_wait() { [ "$(grown slots)" -ge "$1" ]; }

# Start a server in its namespace: it has the number in $server.
start()
{
	ip netns exec "$SRV" "$@" >"$dir/log" 2>&1 </dev/null &
	server=$!
	wait_for listens "$PORT" || { msg "$(cat "$dir/log")"; return 1; }
}

stop()
{
	kill -TERM "$server"
	wait "$server"
	server=
	wait_for listens_not "$PORT"
}

ab_says() { sed -n "s/^$1: *\([0-9]*\).*/\1/p" "$dir/ab" | grep . || echo 0; }

# How many of the requests ended, and how many failed.
load()
{
	ip netns exec "$CLI" ab -q -r -s $WAIT_S -n "$1" -c $CLIENTS \
		"http://192.0.2.1:$PORT/" >"$dir/ab" 2>&1
	echo "$(ab_says 'Complete requests') $(($(ab_says 'Failed requests') +
		$(ab_says 'Write errors') + $(ab_says 'Non-2xx responses')))"
}

# A server that nobody has asked anything for.
start_neighbour()
{
	ip netns exec "$SRV" "$DIR/fstool" serve $OTHER 1 >/dev/null &
	neighbour=$!
	wait_for listens $OTHER
}

stop_neighbour()
{
	kill -KILL "$neighbour"
	wait "$neighbour" 2>/dev/null
	neighbour=
	wait_for listens_not $OTHER
}

# What is expected of a server that was opted in: its name, how many slots its
# workers have, what per cent at least is to be local if any, and the command.
serves()
{
	local name=$1 slots=$2 least=$3 l g f all cpus='' i

	shift 3
	snap
	check "$name: starts" start "$@"
	check_eq "$name: its socket is spawned" "1 1" "$(spawned)"
	check "$name: its workers wait" wait_for workers_wait "$slots"
	start_neighbour
	check_eq "$name: another's is not" "1 1" "$(spawned)"
	stop_neighbour
	check_eq "$name: no request fails" "$REQUESTS 0" "$(load "$REQUESTS")"
	l=$(grown accept_local) g=$(grown accept_global) f=$(grown accept_foreign)
	all=$((l + g + f))
	if [ "$slots" = 1 ]; then
		check_eq "$name: what one alone waits at is plain" "0 0" "$(grown shared) $all"
		check "$name: stops" stop
		return
	fi
	# A client may open more than it needs.
	check "$name: each is counted" test $all -ge "$REQUESTS"
	for ((i = 0; i < CPUS; i++)); do
		cpus+=" $(grown accept_local "$i")"
	done
	msg "$name: $l local ($((100 * l / all)) %:$cpus), $g global, $f foreign"
	if [ "$least" -gt 0 ]; then
		check "$name: each CPU serves locally" each_cpu_serves
		# Or were taken from a worker that was slow.
		l=$((l + $(grown stolen) + $(grown pushed)))
		check "$name: $least % are served locally" test $((100 * l)) -ge $((least * all))
	fi
	check "$name: stops" stop
}

# The same server without, with `fastsocket run`, and at a marked port.
opt_in()
{
	local name=$1 slots=$2 least=$3

	shift 3
	snap
	check "$name: starts without" start "$@"
	check_eq "$name: no request fails without" "$FEW 0" "$(load $FEW)"
	check_eq "$name: nothing is spawned without" "0 0" "$(spawned)"
	stop

	serves "$name, run" "$slots" "$least" "$fastsocket" run --strict -- "$@"

	check "$name: the port is marked" srv "$fastsocket" mark "$PORT"
	serves "$name, mark" "$slots" "$least" "$@"
	check "$name: the port is unmarked" srv "$fastsocket" unmark "$PORT"
}

if [ -x "$DIR/goserver" ]; then
	# One thread of a process registers, any accepts: how much is local is not promised.
	opt_in "Go" 1 0 "$DIR/goserver" "$PORT"
	opt_in "Go, $WORKERS processes" "$WORKERS" 0 "$DIR/goserver" "$PORT" "$WORKERS"
else
	skip "Go"
fi
if command -v python3 >/dev/null; then
	# The clients run on the same CPUs, where no worker is woken beside them.
	opt_in "asyncio" "$WORKERS" 40 python3 "$DIR/aioserver.py" "$PORT" "$WORKERS"
else
	skip "asyncio"
fi

# --- marks ---

check_eq "no mark is left" "" "$(srv "$fastsocket" marks)"
check_eq "as JSON" "[]" "$(srv "$fastsocket" marks --json)"
check "several addresses are marked" srv "$fastsocket" mark ":$PORT" 192.0.2.1:1 '[::1]:1'
check_eq "all are listed, sorted" "0.0.0.0:$PORT 192.0.2.1:1 [::]:$PORT [::1]:1" \
	"$(srv "$fastsocket" marks | xargs)"
check_eq "with their ports" 2 "$(srv "$fastsocket" marks --json | grep -c "\"port\": $PORT")"
check_eq "another namespace has none" "" "$(ip netns exec "$CLI" "$fastsocket" marks)"
check "what is marked can be marked" srv "$fastsocket" mark "$PORT" 2>"$dir/said"
check_eq "with a notice" "fastsocket: port $PORT is marked already" "$(cat "$dir/said")"

said=$(srv "$fastsocket" unmark 192.0.2.9:2 "$PORT" 2>&1)
check_eq "what is not marked cannot be unmarked" 1 $?
check_eq "and is named" "fastsocket: 192.0.2.9:2 is not marked" "$said"
check_eq "the others are" "192.0.2.1:1 [::1]:1" \
	"$(srv "$fastsocket" marks | xargs)"
snap
check "a server starts where a mark was" start "$DIR/fstool" serve "$PORT" 1
check_eq "and is not spawned" "0 0" "$(spawned)"
stop

said=$(as_nobody "$fastsocket" mark 80 2>&1)
check_eq "an unprivileged user cannot mark" 1 $?
check "and is told why" grep -q "cannot mark 0.0.0.0:80: .*CAP_NET_ADMIN" <<<"$said"
check_not "nor unmark" as_nobody "$fastsocket" unmark '[::1]:1' 2>/dev/null
check "but look" as_nobody "$fastsocket" marks >/dev/null

# --- runs ---

snap
check "an unprivileged user can run" start setpriv --reuid 65534 --regid 65534 --clear-groups \
	"$fastsocket" run --strict -- "$dir/fstool" serve "$PORT" 1
check_eq "and has it spawned" "1 1" "$(spawned)"
stop

# It begins to listen after the program that was started has ended.
snap
check "a daemon can be run" start "$fastsocket" run --strict -- \
	sh -c "(sleep 2; exec setsid $DIR/fstool serve $PORT 1) >/dev/null 2>&1 &"
check_eq "and is spawned" "1 1" "$(spawned)"
check "the launcher stays" kill -0 "$server"
stop

# As a service manager hands its socket to a program.
if command -v python3 >/dev/null; then
	snap
	check "a program can be given a socket" start python3 -c "
import os, socket
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(('', $PORT))
listener.listen()
listener.set_inheritable(True)
os.execv('$fastsocket', ['fastsocket', 'run', '--strict', '--', 'sleep', '600'])"
	check "which is spawned" wait_for spawned_is "1 0"
	stop
else
	skip "a program that is given a socket"
fi

finish
