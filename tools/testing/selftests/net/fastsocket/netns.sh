#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A spawned server in one network namespace and clients in another, over veth
# with RPS: it serves, and the statistics are those of its namespace alone.

# shellcheck disable=SC2317
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

CONNS=${FASTSOCKET_CONNS:-200}
PORT=${FASTSOCKET_PORT:-18471}
SRV=fssrv-$$
CLI=fscli-$$

modprobe -q fastsocket
[ -e /dev/fastsocket ] || skip_all "fastsocket"
ip netns add "$SRV" || skip_all "network namespaces"

server=
cleanup()
{
	[ -z "$server" ] || kill -KILL "$server"
	wait 2>/dev/null
	ip netns del "$SRV" 2>/dev/null
	ip netns del "$CLI" 2>/dev/null
}
trap cleanup EXIT

ip netns add "$CLI"
if ! ip -n "$SRV" link add veth0 type veth peer name veth0 netns "$CLI"; then
	skip_all "veth"
fi
ip -n "$SRV" addr add 192.0.2.1/24 dev veth0
ip -n "$CLI" addr add 192.0.2.2/24 dev veth0
ip -n "$SRV" addr add 2001:db8::1/64 dev veth0 nodad
ip -n "$CLI" addr add 2001:db8::2/64 dev veth0 nodad
for ns in "$SRV" "$CLI"; do
	ip -n "$ns" link set lo up
	ip -n "$ns" link set veth0 up
done

# All CPUs that there are, as the mask that the file wants.
rps=$(printf '%x' $(((1 << $(nproc)) - 1)))
ip netns exec "$SRV" sh -c "echo $rps >/sys/class/net/veth0/queues/rx-0/rps_cpus" ||
	msg "no RPS: all packets are received where the client runs"

stats() { ip netns exec "$1" cat "/proc/net/$2"; }
total() { stats "$1" "$2" | stat_column "$3" total; }
accepted()
{
	echo $(($(total "$1" fsocket_stats accept_local) +
		$(total "$1" fsocket_stats accept_global) +
		$(total "$1" fsocket_stats accept_foreign)))
}

# One alone is served as by a plain socket, and that is not counted.
workers=$(nproc)
[ "$workers" -gt 1 ] || workers=2
shared_is() { [ "$(total "$SRV" fsocket_stats shared)" = "$1" ]; }

init_before=$(cat /proc/net/fsocket_stats)
check_eq "a new namespace has accepted nothing" 0 "$(accepted "$SRV")"

out=$(mktemp)
ip netns exec "$SRV" "$DIR/fstool" serve "$PORT" "$workers" spawn >"$out" &
if ! wait_for grep -q ready "$out"; then
	fail "the server starts"
	finish
fi
server=$(sed -n 's/^ready //p' "$out")
rm -f "$out"
check "its workers wait" wait_for shared_is 1

for addr in 192.0.2.1 2001:db8::1; do
	check "clients of $addr are served" \
		ip netns exec "$CLI" "$DIR/fstool" load $addr "$PORT" "$CONNS"
done

check_eq "all were accepted in the server's namespace" $((2 * CONNS)) "$(accepted "$SRV")"
check_eq "none in the client's" 0 "$(accepted "$CLI")"
check_eq "none in the first" "$init_before" "$(cat /proc/net/fsocket_stats)"
check_eq "lookups are counted there as well" 0 "$(total "$CLI" hash_stat lookup_local)"

local_share=$(total "$SRV" fsocket_stats accept_local)
msg "$local_share of $((2 * CONNS)) were accepted on the CPU that received them"
check "there are local ones" test "$local_share" -gt 0

for col in accept_local accept_global slots pushed; do
	sum=$(stats "$SRV" fsocket_stats | awk -v name=$col '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i; next }
		$1 != "total" { s += $c }
		END { print s + 0 }')
	check_eq "the CPUs' $col make the total" "$(total "$SRV" fsocket_stats $col)" "$sum"
done

# The namespace goes while the server is still in it, then the server.
ip netns del "$SRV"
check "the server outlives the name of its namespace" kill -0 "$server"
kill -KILL "$server"
server=
check "and the module is free again" unload
modprobe -q fastsocket

finish
