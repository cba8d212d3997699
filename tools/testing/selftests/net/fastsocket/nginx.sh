#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# nginx, unmodified, with libfsocket.so: under load it is reloaded and its
# workers are killed; and it has accept_mutex on and off while all packets
# arrive on one CPU. A socket for each worker is there to compare with.

# shellcheck disable=SC2016,SC2317
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

RELOADS=${FASTSOCKET_RELOADS:-50}
KILLS=${FASTSOCKET_KILLS:-50}
REQUESTS=${FASTSOCKET_REQUESTS:-3000}
# Whether to show what is lost without us, for which the machine may be too slow.
COMPARE=${FASTSOCKET_COMPARE:-1}
LIBRARY=${FASTSOCKET_LIBRARY:-$DIR/../../cargo/release/libfsocket.so}
# Nobody is to lose patience before the harness does.
WAIT_S=300
WORKERS=4
CLIENTS=32
SRV=fssrv-$$
CLI=fscli-$$

for program in nginx ab pgrep; do
	command -v $program >/dev/null || skip_all "$program"
done
[ -r "$LIBRARY" ] || skip_all "$LIBRARY"
modprobe -q fastsocket
[ -e /dev/fastsocket ] || skip_all "fastsocket"
ip netns add "$SRV" || skip_all "network namespaces"

dir=$(mktemp -d)
master='' client=''
cleanup()
{
	[ -z "$client" ] || kill -KILL "$client" 2>/dev/null
	[ -z "$master" ] || stop_nginx
	ip netns del "$SRV"
	ip netns del "$CLI" 2>/dev/null
	rm -r "$dir"
}
trap cleanup EXIT

srv() { ip netns exec "$SRV" "$@"; }

ip netns add "$CLI"
ip link add veth0 netns "$SRV" type veth peer name veth0 netns "$CLI"
for ns in "$SRV" "$CLI"; do
	ip -n $ns link set lo up
	ip -n $ns link set veth0 up
	# Many connections one after the other, none of them in another's way.
	ip netns exec $ns sysctl -qw net.ipv4.tcp_max_tw_buckets=262144 \
		net.ipv4.ip_local_port_range='1024 65535' net.ipv4.tcp_tw_reuse=1
done
ip -n "$SRV" addr add 192.0.2.1/24 dev veth0
ip -n "$CLI" addr add 192.0.2.2/24 dev veth0
echo 1 | srv tee /sys/class/net/veth0/queues/rx-0/rps_cpus >/dev/null ||
	skip_all "RPS"

mkdir "$dir/www"
head -c 64 /dev/zero >"$dir/www/64"

workers() { pgrep -P "$master"; }
listens() { [ -n "$(srv ss -Hltn sport = :80)" ]; }
all_there() { [ "$(workers | wc -l)" = "$WORKERS" ]; }
# As many as there should be, and none of those in $old.
all_new() { all_there && ! workers | grep -qxF "$old"; }

# Start nginx: what its listen and its accept_mutex are, and how it is started.
start_nginx()
{
	local listen=$1 mutex=$2

	shift 2
	cat >"$dir/nginx.conf" <<-END
		daemon off;
		user root;
		worker_processes $WORKERS;
		pid $dir/nginx.pid;
		error_log $dir/error.log;
		events { worker_connections 1024; accept_mutex $mutex; }
		http {
			access_log off;
			keepalive_timeout 0;
			server { listen 80 $listen; listen [::]:80 $listen; root $dir/www; }
		}
	END
	# Not by a function, so that it has the number of the process that nginx is.
	ip netns exec "$SRV" "$@" nginx -e "$dir/error.log" -c "$dir/nginx.conf" &
	master=$!
	wait_for listens && wait_for all_there
}

stop_nginx()
{
	kill -TERM "$master" 2>/dev/null
	wait "$master"
	master=
}

# A client on the loopback of the server's namespace, until end_load.
start_load()
{
	ip netns exec "$SRV" ab -q -r -s $WAIT_S -n 1000000 -c $CLIENTS "http://$1/64" >"$dir/ab" 2>&1 &
	client=$!
}

ab_says() { sed -n "s/^$1: *\([0-9]*\).*/\1/p" "$dir/ab" | grep . || echo 0; }
failed()
{
	echo $(($(ab_says 'Failed requests') + $(ab_says 'Write errors') +
		$(ab_says 'Non-2xx responses')))
}

# How many requests failed is in $bad afterwards, how many there were in $all.
end_load()
{
	kill -INT $client
	wait $client
	client=
	bad=$(failed) all=$(ab_says 'Complete requests')
}

# How many handshakes were completed, and how many connections accepted. What
# was queued and not accepted is gone when the two do not become equal.
opened()
{
	srv awk '$1 == "Tcp:" && !n { for (n = 1; $n != "PassiveOpens"; n++); next }
		$1 == "Tcp:" { print $n }' /proc/net/snmp
}
accepted()
{
	local c sum=0

	for c in local global foreign; do
		sum=$((sum + $(srv cat /proc/net/fsocket_stats | stat_column accept_$c total)))
	done
	echo $sum
}
none_lost() { [ "$(opened)" = "$(accepted)" ]; }

# reload TIMES, kill_workers TIMES
reload()
{
	local i

	for ((i = 0; i < $1; i++)); do
		old=$(workers)
		kill -HUP "$master"
		wait_for all_new || return 1
	done
}

kill_workers()
{
	local i

	for ((i = 0; i < $1; i++)); do
		old=$(workers | shuf -n 1)
		kill -KILL "$old"
		wait_for all_new || return 1
	done
}

spawned=(env LD_PRELOAD="$LIBRARY" FSOCKET_STRICT=1)

reloads=$RELOADS kills=$KILLS
for addr in 127.0.0.1 '[::1]'; do
	start_nginx '' off "${spawned[@]}"
	check "$addr: nginx starts" all_there
	start_load "$addr"
	check "$addr: reloaded $reloads times" reload "$reloads"
	end_load
	check_eq "$addr: no request failed" 0 "$bad"
	check "$addr: each connection was accepted" wait_for none_lost
	check "$addr: there were requests" test "$all" -gt "$reloads"

	start_load "$addr"
	check "$addr: $kills workers killed" kill_workers "$kills"
	end_load
	msg "with libfsocket.so, $bad of $all failed"
	# Those are what the dead had accepted: nothing else is missing.
	check "$addr: each connection was accepted" wait_for none_lost
	msg "$(opened) opened, $(accepted) accepted"
	start_load "$addr"
	wait_for srv sh -c "ss -Htn state time-wait sport = :80 | grep -q ."
	end_load
	check_eq "$addr: and none afterwards" 0 "$bad"
	stop_nginx
	# It takes minutes, and the other family has no queues of its own.
	reloads=$(((reloads + 4) / 5)) kills=$(((kills + 4) / 5))
done

if [ "$COMPARE" = 1 ]; then
	start_nginx reuseport off env
	start_load 127.0.0.1
	reload "$RELOADS"
	end_load
	msg "with a socket for each worker, $bad of $all failed while nginx was reloaded"
	start_load 127.0.0.1
	kill_workers "$KILLS"
	end_load
	msg "with a socket for each worker, $bad of $all failed while workers were killed"
	stop_nginx
fi

for mutex in on off; do
	start_nginx '' $mutex "${spawned[@]}"
	ip netns exec "$CLI" ab -q -r -s $WAIT_S -n "$REQUESTS" -c $CLIENTS \
		http://192.0.2.1/64 >"$dir/ab" 2>&1
	check_eq "accept_mutex $mutex, one CPU: all are served" "$REQUESTS 0" \
		"$(ab_says 'Complete requests') $(failed)"
	stop_nginx
done

finish
