# shellcheck shell=bash disable=SC2034,SC2154,SC2317
# SPDX-License-Identifier: GPL-2.0
#
# PostgreSQL: one process accepts and forks for each session. A session and what
# it starts are as free as on plain sockets.

bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
needs=("$bin/postgres" "$bin/psql" "$bin/pgbench")
plain=1
share=15

as_postgres() { setpriv --reuid postgres --regid postgres --init-groups env -u LD_PRELOAD HOME="$home" "$@"; }

start()
{
	chown postgres: "$home"
	as_postgres "$bin/initdb" -D "$home/data" -A trust -N >/dev/null
	echo "host all all 0.0.0.0/0 trust" >>"$home/data/pg_hba.conf"
	run=(setpriv --reuid postgres --regid postgres --init-groups
		"$bin/postgres" -D "$home/data" -p "$port" -k "$home" -h 0.0.0.0 -c fsync=off
		-c shared_buffers=16MB -c max_connections=50)
}

sql() { cli "$bin/psql" -w -X -At -h "$addr" -p "$port" -U postgres -d postgres -c "$1"; }
one() { [ "$(sql "select 6 * 7")" = 42 ]; }

# A connection for each.
ask()
{
	local each=$((($1 + 7) / 8))

	echo "select 6 * 7;" >"$dir/select"
	rm -f "$dir"/pgbench.*
	cli "$bin/pgbench" -n -C -h "$addr" -p "$port" -U postgres -c 8 -t "$each" -f "$dir/select" \
		-l --log-prefix="$dir/pgbench" postgres >"$dir/pgb" 2>>"$dir/said"
	all=$((each * 8))
	failed=$((all - $(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' "$dir/pgb" | grep . || echo 0)))
	rate=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' "$dir/pgb" | grep . || echo 0)
	p99=$(cat "$dir"/pgbench.* | sort -k 3n | awk '{ t[NR] = $3 } END { printf "%d", t[int((NR * 99 + 99) / 100)] / 1000 }')
}

inside() { sql "copy (select 1) to program \$sh\$$1\$sh\$"; }
