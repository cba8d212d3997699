# shellcheck shell=bash disable=SC2034,SC2154,SC2317
# SPDX-License-Identifier: GPL-2.0
#
# Redis: one thread accepts, and two more read and write.

needs=(redis-server redis-cli redis-benchmark)
plain=1

start()
{
	run=(redis-server --port "$port" --bind 0.0.0.0 --protected-mode no --daemonize no
		--save '' --io-threads 3 --dir "$home")
}

one() { [ "$(cli redis-cli -h "$addr" -p "$port" ping)" = PONG ]; }

# A connection for each.
ask()
{
	cli redis-benchmark -h "$addr" -p "$port" -k 0 -n "$1" -c "$CLIENTS" -t ping_mbulk --csv >"$dir/bench" 2>>"$dir/said"
	# It ends at the first that fails.
	all=$1 failed=$?
	read -r rate p99 < <(tr -d '"' <"$dir/bench" | awk -F, '/^PING/ { r = $2; p = $7 } END { printf "%.1f %d\n", r, p }')
}
