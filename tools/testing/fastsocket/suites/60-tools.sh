#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Unit tests of the cargo workspace, and of what `make bench-live` computes; and a short run of that.

. "$(dirname "$0")/../tap.sh"

# ratios WHAT: on standard input are runs as ratios.awk takes them, with commas for tabs; then "=>"; then
# lines that it must print, with any number of blanks as one.
ratios() {
	local line got bad=0 runs=()
	while read -r line && [ "$line" != '=>' ]; do runs+=("$line"); done
	got=$(printf '%s\n' "${runs[@]}" | tr , '\t' | "$TESTING/live/ratios.awk" -v separate=1 | tr -s ' ')
	while read -r line; do
		grep -qxF -- "$line" <<<"$got" || { comment <<<"not printed: $line"; bad=1; }
	done
	if [ $bad = 0 ]; then ok "ratios: $1"; else comment <<<"$got"; not_ok "ratios: $1"; fi
}

if [ ! -e Cargo.toml ]; then
	skip "cargo test" "no Cargo.toml"
	plan
	exit
fi
log=$BUILD/logs/cargo-test.out
mkdir -p "$BUILD/logs"
scripts/tools.sh test 2>&1 | tee "$log" | comment
status=${PIPESTATUS[0]}
while read -r _ name dots result _; do
	[ "$dots" = ... ] || continue
	case $result in
	ok) ok "cargo: $name" ;;
	ignored*) skip "cargo: $name" ignored ;;
	FAILED) not_ok "cargo: $name" ;;
	esac
done < <(grep '^test ' "$log")
[ "$status" = 0 ] || not_ok "cargo test ended with status $status"
[ "$TAP_N" -gt 0 ] || not_ok "cargo ran no test"

# Of the ratios of each round: 0.5, 2 and 3; and of 100, 200 and 400 to 200.
ratios "an odd number of rounds, in any order" <<'END'
s,single,1,100,4,-,90,0
s,single,2,200,4,-,90,0
s,single,3,400,4,-,90,0
s,fastsocket,3,1200,2,99,90,0
s,fastsocket,1,50,2,98,80,1
s,fastsocket,2,400,1,97,85,2
s,reuseport,-
=>
s single 1.00 (0.50 .. 2.00) 1.00 (1.00 .. 1.00) - 90 % 0
s reuseport - - - - -
s fastsocket 2.00 (0.50 .. 3.00) 0.50 (0.25 .. 0.50) 98.00 % 85 % 3
s, fastsocket, requests/s: the difference is within the spread: it says nothing
END
ratios "an even number of rounds, no kernel time, CPUs that idle" <<'END'
s,single,1,100,0,-,40,0
s,single,2,300,0,-,40,0
s,reuseport,1,150,1,-,90,0
s,reuseport,2,600,1,-,90,0
=>
s single 1.00 (0.50 .. 1.50) - - 40 % 0
s reuseport 1.75 (1.50 .. 2.00) - - 90 % 0
s, single: the servers' CPUs were not busy: requests/s says how fast the load is
END
ratios "one round, and a run without one to compare it with" <<'END'
s,single,1,100,4,-,90,0
s,fastsocket,1,150,1,-,90,0
t,fastsocket,1,150,1,-,90,0
=>
s fastsocket 1.50 (1.50 .. 1.50) 0.25 (0.25 .. 0.25) - 90 % 0
t fastsocket - - - 90 % 0
one round has no spread: it says nothing
END

log=$BUILD/logs/bench-live.out
if [ -r "$BUILD/vm/arch/x86/boot/bzImage" ]; then
	CPUS=4 ROUNDS=1 REQUESTS=200 scripts/bench-live.sh 2>&1 | sed -u 's/\r//g' | tee "$log" | comment
	status=${PIPESTATUS[0]}
	if [ "$status" = 0 ]; then ok "bench-live"; else not_ok "bench-live: $(guest_status "$status")"; fi
	ratio='[0-9]+\.[0-9]+ \([0-9.]+ \.\. [0-9.]+\)'
	for server in demo nginx HAProxy; do
		for kind in single reuseport fastsocket; do
			[ $server/$kind != demo/reuseport ] || continue
			try "bench-live: ratios of $server, $kind" grep -Eq "^$server +$kind +$ratio +$ratio" "$log"
		done
	done
	try "bench-live says that four emulated CPUs are too small" grep -q '^live: TOO SMALL' "$log"
else
	skip "bench-live" "there is no kernel in build/vm"
fi
plan
