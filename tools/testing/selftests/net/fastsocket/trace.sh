#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The tracepoints: what other tests do is told, of the right socket.

# shellcheck disable=SC2317
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

T=/sys/kernel/tracing
EVENTS=$T/events/fastsocket

[ "$(nproc)" -gt 1 ] || skip_all "a second CPU"
[ -e $T/events ] || mount -t tracefs none $T
[ -e $EVENTS ] || skip_all "tracepoints"
modprobe -q fastsocket
[ -e /dev/fastsocket ] || skip_all "fastsocket"

cleanup() { echo 0 >"$EVENTS/enable"; }
trap cleanup EXIT

quietly() { "$@" >/dev/null; }

# What is traced while a test runs is in $out afterwards.
trace() # program fixture.variant.test
{
	echo 0 >$T/trace
	echo 1 >$EVENTS/enable
	check "$2 passes" quietly "$DIR/$1" -r "$2"
	echo 0 >$EVENTS/enable
	out=$(cat $T/trace)
}

tells() # what pattern
{
	if grep -qE "$2" <<<"$out"; then
		pass "$1"
	else
		msg "$(wc -l <<<"$out") lines were traced"
		fail "$1"
	fi
}

for family in AF_INET:v4:saddr=127.0.0.1 "AF_INET6:v6:saddrv6=::"; do
	IFS=: read -r af v addr <<<"$family"
	sk="netns=[1-9][0-9]* family=$af sport=[1-9][0-9]* .*$addr"
	conn="netns=[1-9][0-9]* family=$af sport=[1-9][0-9]* dport=[1-9][0-9]* saddr=.* daddr=.*"

	trace steal "steal.epoll_$v.busy"
	tells "$af: spawn" "fastsocket_spawn: $sk.* cpu=0"
	tells "$af: a local accept" "\\[000\\].* fastsocket_accept: $sk.* cpu=0 from=local"
	tells "$af: a stolen one" "\\[00[1-9]\\].* fastsocket_accept: $sk.* cpu=0 from=stolen"

	trace strand "strand.spawned_$v.registrant_stopped"
	tells "$af: migrate" "fastsocket_migrate: $sk.* cpu=[0-9]+ moved=[1-9]"
	tells "$af: a global accept" "fastsocket_accept: $sk.* cpu=-1 from=global"
	tells "$af: overflow" "fastsocket_overflow: $sk.* cpu=[0-9]"

	trace rfd "rfd.$v.is_found_from_everywhere"
	tells "$af: at home" "\\[000\\].* fastsocket_home: $conn.* cpu=0"
	tells "$af: found by another" "\\[00[1-9]\\].* fastsocket_foreign_hit: $conn.* cpu=0"

	trace steer "delivery.$v.to_the_cpu_that_opened_it"
	tells "$af: steered" "\\[001\\].* fastsocket_steer: ${conn/sport=*/sport=8480 dport=}.* cpu=0"
done

finish
