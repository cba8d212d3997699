#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Programs as Debian has them, on plain sockets and on spawned ones at a time,
# each in a network namespace of its own. They get the same load in turn: no
# request fails, and spawned is not far slower. Then they are reloaded under
# load, where they can be: no more fails than on plain sockets.
#
# FASTSOCKET_PROGRAMS="apache redis" takes only these of the files in programs/,
# FASTSOCKET_VARIANTS="event" only these of their variants. FASTSOCKET_PATIENCE
# is how long to wait for anything, in seconds.
#
# A file says of its program:
#
#   needs=(COMMAND...)	what has to be installed
#   variants=(NAME...)	how it can be run; $variant is the one to start
#   start		writes what it needs into $home, and sets `run` to the
#			command that serves $port; it stays in the foreground
#   settled		it is ready; else, that it listens
#   one			ask once, where the clients are; else, ab does, for /$path
#   ask N		ask so often with a loader of its own, and set all, failed,
#			rate and p99 (in milliseconds)
#   reload		reload or restart once, and succeed when that is done
#   inside		run a shell command as what the server starts for a client
#   parts		print what is to be the same on plain sockets and spawned
#   by=run		it is started by `fastsocket run` and not with the library
#   plain=1		one task alone accepts, so that nothing is counted
#   share=DIVISOR	it is slow: only this part of the connections
#   CLIENTS=NUMBER	how many ask at a time
#
# There, `srv COMMAND...` runs a command where the server is, `cli` where its
# clients are; $main is the server's process, $addr its address, $dir and $home
# are directories that everybody may look into.

# What the files define is called from here, and what they use is from here.
# shellcheck disable=SC2034,SC2317
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

BUILT=${FASTSOCKET_BUILT:-$DIR/../../cargo/release}
REQUESTS=$((${FASTSOCKET_REQUESTS:-1500}))
ROUNDS=${FASTSOCKET_ROUNDS:-5}
RELOADS=${FASTSOCKET_RELOADS:-3}
WORKERS=4
# Nobody is to lose patience before the harness does.
WAIT_S=${FASTSOCKET_PATIENCE:-300}
NS=fsprog-$$
port=8000

for program in ab ss curl xargs; do
	command -v $program >/dev/null || skip_all "$program"
done
[ -r "$BUILT/libfsocket.so" ] || skip_all "$BUILT/libfsocket.so"
modprobe -q fastsocket
[ -e /dev/fastsocket ] || skip_all "fastsocket"
ip netns add "$NS-client" || skip_all "network namespaces"

dir=$(mktemp -d)
declare -A mains addrs=([plain]=192.0.2.1 [spawned]=198.51.100.1)
kinds=(plain spawned)

# Whatever runs in the namespaces is ours.
kill_all()
{
	local ns

	for ns in "$@"; do
		ip netns pids "$NS-$ns" | xargs -r kill -KILL
		[ -z "${mains[$ns]:-}" ] || wait "${mains[$ns]}"
	done
} 2>/dev/null
cleanup()
{
	local ns

	kill_all "${kinds[@]}" client
	for ns in "${kinds[@]}" client; do
		ip netns del "$NS-$ns" 2>/dev/null
	done
	rm -rf "$dir"
}
trap cleanup EXIT

chmod 755 "$dir"
# For users who may not look into the place where they were built.
install -m 755 "$BUILT/libfsocket.so" "$BUILT/fastsocket" "$dir/"
head -c 64 /dev/zero | tr '\0' x >"$dir/64"

rps=$(printf '%x' $(((1 << $(nproc)) - 1)))
# A flow's packets come to the same CPU, even those that are sent again; and
# many connections are not in each other's way.
calm=(net.core.txrehash=0 net.ipv4.tcp_max_tw_buckets=262144
	net.ipv4.ip_local_port_range='1024 65535' net.ipv4.tcp_tw_reuse=1)
ip -n "$NS-client" link set lo up
ip netns exec "$NS-client" sysctl -qw "${calm[@]}"

# A new namespace for a server: nothing is left of the last one.
network_up()
{
	local kind=$1 net=${addrs[$1]%.*}

	ip netns add "$NS-$kind"
	ip link add veth0 netns "$NS-$kind" type veth peer name "$kind" netns "$NS-client"
	ip -n "$NS-$kind" addr add "$net.1/24" dev veth0
	ip -n "$NS-client" addr add "$net.2/24" dev "$kind"
	ip -n "$NS-$kind" link set lo up
	ip -n "$NS-$kind" link set veth0 up
	ip -n "$NS-client" link set "$kind" up
	ip netns exec "$NS-$kind" sysctl -qw "${calm[@]}"
	ip netns exec "$NS-$kind" sh -c "echo $rps >/sys/class/net/veth0/queues/rx-0/rps_cpus"
}

network_down()
{
	ip netns del "$NS-$1"
	ip -n "$NS-client" link del "$1" 2>/dev/null
}

# What it started with, for what a reload starts.
with()
{
	start_as=()
	[ "$kind" = spawned ] || return 0
	case $by in
	library) start_as=(env LD_PRELOAD="$dir/libfsocket.so") ;;
	run) start_as=("$dir/fastsocket" run --strict --) ;;
	esac
}

srv() { ip netns exec "$NS-$kind" "$@"; }
# Start one more beside it.
another()
{
	with
	srv "${start_as[@]}" "$@" >>"$home/log" 2>&1 </dev/null
}
cli() { ip netns exec "$NS-client" "$@"; }
listens() { [ -n "$(srv ss -Hltn sport = ":$port")" ]; }
count() { srv cat /proc/net/fsocket_stats | stat_column "$1" total; }
children() { pgrep -P "$main" | sort; }

# Which server it is about: kind, main, addr and home.
take()
{
	kind=$1
	main=${mains[$1]:-} addr=${addrs[$1]} home=$dir/$1
}

# What a server's file defines.
forget()
{
	needs=() variants=("") by=library plain='' share=1 path='' CLIENTS=16
	unset -f start settled one ask reload inside parts
}
has() { declare -F "$1" >/dev/null; }

# begin KIND: start the server.
begin()
{
	take "$1"
	network_up "$kind"
	mkdir -p "$home/www"
	chmod 777 "$home"
	cp "$dir/64" "$home/www/"
	run=()
	start
	with
	# Not by a function, so that it has the number of the process that runs; some
	# send signals to all of their process group.
	setsid ip netns exec "$NS-$kind" "${start_as[@]}" "${run[@]}" >"$home/log" 2>&1 </dev/null &
	mains[$kind]=$!
	take "$kind"
	wait_for ready && alive
}
alive() { [ -e "/proc/$main" ]; }
# It is not waited for when it has ended.
ready() { ! alive || { listens && { ! has settled || settled; } && answers 2>"$dir/said"; }; }

end()
{
	take "$1"
	kill -TERM "$main" 2>/dev/null
	sleep 0.5
	kill_all "$kind"
	mains[$kind]=
	network_down "$kind"
	rm -rf "$home"
}

# Once, and the answer is a good one.
answers()
{
	if has one; then as_client one; else cli curl -sf -m 60 -o /dev/null "http://$addr:$port/$path"; fi
}

ab_says() { sed -n "s/^$1: *\([0-9.]*\).*/\1/p" "$dir/ab" | grep . || echo 0; }

# What ab has seen: sets failed, rate, and p99 in milliseconds.
ab_result()
{
	failed=$(($(ab_says 'Failed requests') + $(ab_says 'Write errors') +
		$(ab_says 'Non-2xx responses')))
	rate=$(ab_says 'Requests per second')
	p99=$(awk '$1 == "99%" { print $2 }' "$dir/ab")
}

# Run a function where the clients are, as a process of its own there: to enter
# the namespace for each command would take long.
as_client()
{
	# shellcheck disable=SC2016
	ip netns exec "$NS-client" bash -c "$(declare -f); $(declare -p CLIENTS DIR BUILT program addr port dir home variant)"'
		cli() { "$@"; }
		. "$DIR/programs/$program.sh"
		"$@"' - "$@" </dev/null
}

# Where ab cannot ask: processes that do, and the time that each took.
by_one()
{
	as_client askers "$1"
	sort -k 2n "$dir"/one.* >"$dir/ones"
	rm "$dir"/one.*
	read -r all failed rate p99 < <(awk '{ t[NR] = $2; bad += $1 == "bad"; sum += $2 }
		END { printf "%d %d %.1f %d\n", NR, bad, sum ? clients * NR * 1e6 / sum : 0,
			t[int((NR * 99 + 99) / 100)] / 1000 }' clients=$CLIENTS "$dir/ones")
}
askers()
{
	local each=$(($1 / CLIENTS)) c

	[ "$each" -ge 1 ] || each=1
	for ((c = 0; c < CLIENTS; c++)); do
		asker "$each" >"$dir/one.$c" 2>>"$dir/said" &
	done
	wait
}
asker()
{
	local i t r

	for ((i = 0; i < $1; i++)); do
		[ ! -e "$dir/stop" ] || break
		t=${EPOCHREALTIME/./}
		r=bad
		! one || r=ok
		echo "$r $((${EPOCHREALTIME/./} - t))"
	done
}

# load N: connections; sets failed, all, rate and p99.
load()
{
	rm -f "$dir/said"
	if has ask; then
		ask "$1"
		return
	elif has one; then
		by_one "$1"
		return
	fi
	cli ab -q -r -s "$WAIT_S" -n "$1" -c $CLIENTS "http://$addr:$port/$path" >"$dir/ab" 2>&1
	ab_result
	all=$1
	failed=$((failed + all - $(ab_says 'Complete requests')))
}

# Load that goes on until it is told to end.
load_on()
{
	rm -f "$dir/said" "$dir/stop"
	if has one; then
		{
			by_one $((CLIENTS * 100000))
			echo "$failed $all" >"$dir/sum"
		} &
	else
		ip netns exec "$NS-client" ab -q -r -s "$WAIT_S" -n 10000000 -c $CLIENTS \
			"http://$addr:$port/$path" >"$dir/ab" 2>&1 &
	fi
	client=$!
}
load_off()
{
	if has one; then
		touch "$dir/stop"
		wait $client
		read -r failed all <"$dir/sum"
		rm "$dir/stop"
	else
		kill -INT $client
		wait $client
		ab_result
		all=$(ab_says 'Complete requests')
	fi
}

# What happened to the server, when it did not go well.
show()
{
	msg "$1: $kind: $2"
	tail -n 15 "$home/log" | sed "s/^/# $kind: /"
	[ ! -e "$dir/said" ] || sort "$dir/said" | uniq -c | sort -rn | head -n 5 | sed 's/^/# client: /'
}

# compare NAME COLUMN FACTOR <results: the medians, and the spread of plain; fails if
# spawned is worse by FACTOR than the worst of plain. COLUMN is 2, a rate, or 3, a time.
compare()
{
	awk -v name="$1" -v column="$2" -v factor="$3" '
		function median(a, n,   i, j, t) {
			for (i = 2; i <= n; i++)
				for (j = i; j > 1 && a[j - 1] > a[j]; j--) {
					t = a[j]; a[j] = a[j - 1]; a[j - 1] = t
				}
			return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
		}
		$1 == "plain" { p[++np] = $column }
		$1 == "spawned" { s[++ns] = $column }
		END {
			m = median(p, np); o = median(s, ns)
			if (!m) { m = 1; o += 1 }
			printf "# %s: %s %.0f plain (%.0f .. %.0f), %.0f spawned (%.0f .. %.0f), ratio %.2f\n",
				name, column == 2 ? "requests/s" : "p99, ms",
				m, p[1], p[np], o, s[1], s[ns], o / m
			# Some milliseconds more are no news where there are few.
			exit column == 2 ? o * factor < p[1] : o > p[np] * factor + 50
		}'
}

# One after the other, another one first each time.
rounds()
{
	local name=$1 n=$((REQUESTS / share)) r order bad=0 k

	: >"$dir/results"
	# What is slow the first time is the same for both.
	for k in "${kinds[@]}"; do
		take "$k"
		load $((n / 2))
		bad=$((bad + failed))
	done
	for ((r = 0; r < ROUNDS; r++)); do
		order=("${kinds[@]}")
		[ $((r % 2)) = 0 ] || order=(spawned plain)
		for k in "${order[@]}"; do
			take "$k"
			load $n
			echo "$kind $rate $p99" >>"$dir/results"
			[ "$failed" = 0 ] || show "$name" "$failed of $all failed"
			bad=$((bad + failed))
		done
	done
	check_eq "$name: no request fails" 0 "$bad"
	# shellcheck disable=SC2016
	check "$name: and there were some" awk '$2 + 0 <= 0 { bad = 1 } END { exit bad || !NR }' "$dir/results"
	check "$name: spawned is not far slower" compare "$name" 2 3 <"$dir/results"
	check "$name: nor are its slowest answers" compare "$name" 3 4 <"$dir/results"
}

# Reloads under load. What fails then on plain sockets may on spawned ones.
reloads()
{
	local name=$1 i bad_plain=0 bad=0

	for k in "${kinds[@]}"; do
		take "$k"
		load_on
		for ((i = 0; i < RELOADS; i++)); do
			sleep 1
			reload || { show "$name" "is not reloaded"; fail "$name: $kind: is reloaded"; break; }
		done
		sleep 1
		load_off
		msg "$name: $kind: reloaded $i times, $failed of $all failed"
		[ "$kind" = plain ] || [ "$failed" = 0 ] || show "$name" "$failed failed"
		[ "$kind" != plain ] || bad_plain=$failed
		bad=$failed
	done
	check "$name: reloaded under load, no more fails than on plain" test "$bad" -le $((2 * bad_plain))
}

# How free the processes of the server are, without what is a process's own. A
# program may add to it.
freedom()
{
	local pid tid

	take "$1"
	# Some are there only when they are needed.
	answers
	for pid in $(ip netns pids "$NS-$kind"); do
		for tid in /proc/"$pid"/task/*; do
			echo "$(<"$tid/comm") $(awk '/^(Cpus_allowed_list|Mems_allowed_list|Cap|NoNewPrivs|Seccomp:|Uid)/ {
				printf "%s %s ", $1, $2 }' "$tid/status") $(awk '{ sub(/.*\) /, ""); print $16, $17, $38, $39 }' "$tid/stat")"
		done
	done 2>/dev/null | grep -v -e '^fastsocket ' -e '^ ' | sort -u
	! has inside || limits
	! has parts || parts 2>&1
}

# What a process has that the server starts for a client.
limits()
{
	# shellcheck disable=SC2016
	inside '{ grep -vE "^(Pid|Tgid|PPid|NS|Ngid|Vm|Rss|Hugetlb|Groups|Name|Sig|Shd|.*ctxt)" /proc/self/status
		cat /proc/self/limits; ulimit -a; nice; chrt -p $$ | sed "s/[0-9]*.s //"; env | cut -d= -f1 | sort
		ls /proc/self/fd | wc -l; } >'"$home/limits"' 2>&1'
	cat "$home/limits"
}

same_freedom()
{
	# Not at once: both may need the same port of the client's.
	freedom plain >"$dir/free.plain"
	freedom spawned >"$dir/free.spawned"
	diff "$dir/free.plain" "$dir/free.spawned" >"$dir/diff" || { sed 's/^/# /' "$dir/diff"; return 1; }
	msg "$(wc -l <"$dir/free.plain") lines are the same"
}

try_variant()
{
	local name=$1 before l g f

	if ! begin plain || ! begin spawned; then
		show "$name" "does not start, or does not answer"
		fail "$name: $kind: starts"
		for k in "${kinds[@]}"; do end "$k" 2>/dev/null; done
		return
	fi
	check "$name: its socket is spawned" test "$(count listen)" -ge 1
	rounds "$name"
	take spawned
	l=$(count accept_local) g=$(count accept_global) f=$(count accept_foreign)
	msg "$name: sockets $(count listen), slots $(count slots), accepted $l local, $g global, $f foreign"
	[ -n "$plain" ] || check "$name: its connections come by it" test $((l + g + f)) -ge $((ROUNDS * REQUESTS / share))
	take plain
	check_eq "$name: and the other's is not spawned" 0 "$(count listen)"
	check "$name: its processes may do what they may on plain" same_freedom
	! has reload || reloads "$name"
	for k in "${kinds[@]}"; do end "$k"; done
}

# missing: the first command that is.
missing()
{
	local c

	for c in "${needs[@]}"; do
		command -v "${c:-none}" >/dev/null || { echo "${c:-it}"; return 0; }
	done
	return 1
}

wanted=${FASTSOCKET_PROGRAMS:-$(cd "$DIR/programs" && printf '%s\n' *.sh)}
for program in $wanted; do
	program=${program%.sh}
	forget
	# shellcheck source=/dev/null
	. "$DIR/programs/$program.sh"
	if lacks=$(missing); then
		msg "$program: $lacks is not installed"
		skip "$program"
		continue
	fi
	for variant in "${variants[@]}"; do
		[ -z "${FASTSOCKET_VARIANTS:-}" ] || [[ " $FASTSOCKET_VARIANTS " == *" $variant "* ]] || continue
		begun=$SECONDS
		try_variant "$program${variant:+, $variant}"
		msg "$program${variant:+, $variant}: $((SECONDS - begun)) s"
	done
done

finish
