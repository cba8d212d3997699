#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The module: parameters, and which of their values are refused and how; what
# it shows; when it may be unloaded, and what it leaves behind: nothing.

# shellcheck disable=SC2119,SC2317
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

ROUNDS=${FASTSOCKET_ROUNDS:-100}
PORT=${FASTSOCKET_PORT:-18470}
PARAMS=/sys/module/fastsocket/parameters

modprobe -n fastsocket 2>/dev/null || skip_all "fastsocket"
unload || skip_all "a fastsocket that is not in use"

pids=()
cleanup()
{
	[ ${#pids[@]} = 0 ] || kill -KILL "${pids[@]}" 2>/dev/null
	wait 2>/dev/null
	unload
	# For whoever tests after us.
	modprobe -q fastsocket
}
trap cleanup EXIT

# --- parameters ---

check_value() # name value mode
{
	check_eq "$1 is $2" "$2" "$(cat "$PARAMS/$1" 2>&1)"
	check_eq "$1 has mode $3" "$3" "$(stat -c %a "$PARAMS/$1" 2>&1)"
}

RULES="enable_receive_flow_deliver enable_receive_cpu_selection enable_rps_framework"
UNBUILT="enable_fast_epoll enable_skb_pool enable_socket_pool_size"

check "loads" load
check_value enable_listen_spawn 2 444
check_value enable_fastsocket_debug 3 644
check_value help_after_us 125 644
for p in $RULES; do
	check_value "$p" 0 644
done
for p in enable_direct_tcp $UNBUILT; do
	check_value "$p" 0 444
done
check_not "a parameter cannot be written" \
	sh -c "echo 1 >$PARAMS/enable_listen_spawn" 2>/dev/null
check_eq "and keeps its value" 2 "$(cat $PARAMS/enable_listen_spawn)"
check "unloads" unload

for v in 0 1 2; do
	check "enable_listen_spawn=$v loads" load enable_listen_spawn=$v
	check_eq "enable_listen_spawn=$v is shown" $v "$(cat $PARAMS/enable_listen_spawn)"
	unload
done
for p in $RULES enable_direct_tcp; do
	check "$p=1 loads" load "$p=1"
	check_eq "$p=1 is shown" 1 "$(cat "$PARAMS/$p")"
	unload
done
for v in 0 7; do
	check "enable_fastsocket_debug=$v loads" load enable_fastsocket_debug=$v
	check_eq "enable_fastsocket_debug=$v is shown" $v "$(cat $PARAMS/enable_fastsocket_debug)"
	unload
done
for p in $UNBUILT; do
	check "$p=0 loads" load "$p=0"
	unload
done

refused() # parameter value, and what the log says besides
{
	local err name="$1=$2"

	mark_log
	err=$(modprobe fastsocket "$name" 2>&1)
	check_eq "$name: modprobe fails" 1 $?
	if loaded; then
		fail "$name: not loaded"
		unload
	else
		pass "$name: not loaded"
	fi
	check "$name: EINVAL" grep -q "Invalid argument" <<<"$err"
	# dmesg shows what came in so far; the message was printed before.
	check "$name: the log tells why" grep -q "fastsocket.*$1${3:-}" <<<"$(since_mark)"
	check_not "$name: no device" test -e /dev/fastsocket
	check_not "$name: no statistics" test -e /proc/net/fsocket_stats
}

for v in 3 7 -1 2147483647; do
	refused enable_listen_spawn "$v" ".*0.*2"
done
refused enable_listen_spawn x
refused enable_listen_spawn ""
for v in -1 8; do
	refused enable_fastsocket_debug "$v" ".*0.*7"
done
for p in $RULES enable_direct_tcp; do
	refused "$p" 2 ".*0.*1"
done

# What the kernel does by itself, unless it was told not to.
mark_log
load enable_direct_tcp=1
check_not "enable_direct_tcp=1 has nothing to say" grep -q early_demux <<<"$(since_mark)"
unload
sysctl -qw net.ipv4.tcp_early_demux=0
mark_log
load enable_direct_tcp=1
check "enable_direct_tcp=1 without early demux: the log says so" grep -q tcp.*_early_demux <<<"$(since_mark)"
unload
sysctl -qw net.ipv4.tcp_early_demux=1
for p in $UNBUILT; do
	refused "$p" 1
	refused "$p" -1
done

# --- what it shows ---

load
check "the device is there" test -c /dev/fastsocket
check_eq "the device's mode is 0444" 444 "$(stat -c %a /dev/fastsocket)"
check_eq "the device is root's" 0:0 "$(stat -c %u:%g /dev/fastsocket)"
possible=$(sed 's/,/ /g' /sys/devices/system/cpu/possible)
ncpu=0
for range in $possible; do
	ncpu=$((ncpu + ${range#*-} - ${range%-*} + 1))
done
for f in fsocket_stats hash_stat steer_stat; do
	check "/proc/net/$f is there" test -r /proc/net/$f
	check_eq "/proc/net/$f has a line for each CPU" $((ncpu + 2)) "$(wc -l </proc/net/$f)"
	check_eq "/proc/net/$f has as many columns in each line" 1 \
		"$(awk '{ print NF }' /proc/net/$f | sort -u | wc -l)"
	check_eq "/proc/net/$f can be read only" 444 "$(stat -c %a /proc/net/$f)"
done
has_column() { stat_column "$1" total <"/proc/net/$2" >/dev/null; }
for c in socket listen accept_local accept_global accept_foreign slots pushed; do
	check "fsocket_stats has $c" has_column $c fsocket_stats
done
for c in lookup_local lookup_global home foreign_hit; do
	check "hash_stat has $c" has_column $c hash_stat
done
check "steer_stat has exhausted" has_column exhausted steer_stat

# --- when it may go ---

for how in open hold pass flight; do
	loaded || load
	tool $how || { fail "fstool $how"; continue; }
	pids=("$tool_pid")
	check_eq "$how: rmmod is refused" \
		"rmmod: ERROR: Module fastsocket is in use" "$(rmmod fastsocket 2>&1)"
	check "$how: still loaded" loaded
	kill -KILL "$tool_pid"
	check "$how: rmmod works after" unload
	pids=()
done

load
if tool child; then
	pids=("$tool_pid")
	check "a child does not keep it" unload
	wait "$tool_pid"
	check_eq "and works without it" 0 $?
	pids=()
else
	fail "fstool child"
fi

for f in /dev/fastsocket /proc/net/fsocket_stats /proc/net/hash_stat /proc/net/steer_stat /sys/module/fastsocket; do
	check_not "$f is gone" test -e $f
done

# --- load and unload while others use plain sockets ---

rounds()
{
	local i

	for ((i = 0; i < ROUNDS; i++)); do
		load || return 1
		# Every fourth time with work of its own.
		((i % 4)) || "$DIR/fstool" touch || return 1
		unload || return 1
	done
}

mark_log
if tool serve "$PORT" 2; then
	pids=("$tool_pid")
	stop=$(mktemp)
	(
		while [ -e "$stop" ]; do
			"$DIR/fstool" load 127.0.0.1 "$PORT" 20 >/dev/null || exit 1
			"$DIR/fstool" load ::1 "$PORT" 20 >/dev/null || exit 1
			# Leave the CPUs to the other side for a while.
			sleep 0.1
		done
	) &
	loader=$!
	check "$ROUNDS rounds of loading and unloading" rounds
	rm -f "$stop"
	wait $loader
	check_eq "no connection of others failed meanwhile" 0 $?
	kill -KILL "$tool_pid"
	pids=()
else
	fail "fstool serve"
fi
check_not "no splat in the log" grep -qE \
	"BUG:|WARNING:|INFO: |Oops|refcount_t|unreferenced object|panicked" <<<"$(since_mark)"

finish
