#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# test.sh [SUITE...]: run the test suites in tools/testing/fastsocket/suites, those named or all, and
# end with a line `N passed, N failed, N skipped`; begin by how long it may take and last took. Ends
# non-zero if a test failed or none passed.
#
# A suite is an executable that prints TAP: `ok N - name`, `not ok N - name`, `ok N - name # SKIP
# why` at the start of a line count; everything else is shown and kept, and does not count. A suite
# that ends non-zero without a failed test, or tells of fewer tests than its plan (1..N), counts as
# one failed test. Needs no terminal and no standard input.
#
# Suites run one after the other; within one, guests run side by side where cores would be idle. Before the
# last line is a table of the time that each suite took, and each guest and build in it.
#
# FASTSOCKET_SOAK=1 takes the long settings (`make soak`). FASTSOCKET_SUITE_TIMEOUT is the longest that a
# suite may take, FASTSOCKET_TEST_TIMEOUT that all may take, in seconds: what has not ended by then is
# ended, and has failed.
#
# What each suite printed is kept in build/logs/SUITE.log.

set -uo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$TOP" || exit 1
exec </dev/null

"$TOP/scripts/setup.sh" --check || exit 1

dir=tools/testing/fastsocket/suites
suites=("$@")
if [ ${#suites[@]} = 0 ]; then
	mapfile -t suites < <(cd $dir && printf '%s\n' [0-9]*.sh | LC_ALL=C sort)
fi
suites=("${suites[@]##*/}")
suites=("${suites[@]%.sh}")
for suite in "${suites[@]}"; do
	[ -x "$dir/$suite.sh" ] || die "there is no suite $suite: there are $(cd $dir && echo [0-9]*.sh | sed 's/\.sh//g')"
done
# Long enough for a machine that has other work as well; what has to end sooner says so (.ci/run).
limit=7200 all=10800 took=$CACHE/test.seconds
if [ "${FASTSOCKET_SOAK:-}" = 1 ]; then limit=14400 all=28800 took=$CACHE/soak.seconds; fi
all=${FASTSOCKET_TEST_TIMEOUT:-$all}
limit=${FASTSOCKET_SUITE_TIMEOUT:-$limit}
deadline=$((SECONDS + all))
mkdir -p "$BUILD/logs"
cd "$BUILD/logs" || exit 1
rm -f "${suites[@]/%/.log}" "${suites[@]/%/.end}"
begin=$SECONDS
running=''
trap '[ -z "$running" ] || kill "$running" 2>/dev/null' EXIT
trap 'exit 130' INT TERM

# run SUITE: what it prints goes to SUITE.log; its status, and the seconds that it took, to SUITE.end.
run() {
	local suite=$1 start=$SECONDS longest=$((deadline - SECONDS)) pid status=124
	[ "$longest" -le "$limit" ] || longest=$limit
	if [ "$longest" -gt 0 ]; then
		timeout -k 30 "$longest" "$TOP/$dir/$suite.sh" >>"$suite.log" 2>&1 &
		pid=$!
		# timeout hands it on to all that the suite has started.
		trap 'kill $pid' TERM
		wait $pid
		status=$?
	fi
	[ "$status" != 124 ] || echo "# $suite: ended after $((SECONDS - start)) s, the time was up" >>"$suite.log"
	echo "$status $((SECONDS - start))" >"$suite.end.new"
	mv "$suite.end.new" "$suite.end"
}

# show SUITE: what it prints, until it has ended, and while it prints nothing, for how long it runs.
show() {
	local ended='' begin=$SECONDS said=$SECONDS every=10 size shown=0
	[ ! -t 2 ] || every=1
	while [ -z "$ended" ]; do
		[ ! -e "$1.end" ] && kill -0 "$running" 2>/dev/null || ended=1
		size=$(stat -L -c %s /dev/fd/3)
		if [ "$size" != "$shown" ]; then
			end_progress
			# From where it was the last time.
			tr -d '\r' <&3
			shown=$size said=$SECONDS
		elif [ $((SECONDS - said)) -ge $every ]; then
			say_progress "$1: $((SECONDS - begin)) s"
			said=$SECONDS
		fi
		[ -n "$ended" ] || sleep 1
	done 3<"$1.log"
	end_progress
}

# count SUITE STATUS: add its tests to the sums.
count() {
	local suite=$1 status=$2 log=$1.log s p f plan bad
	s=$(grep -cE '^ok .*# *(SKIP|XFAIL)' "$log")
	p=$(($(grep -c '^ok ' "$log") - s))
	mapfile -t bad < <(tr -d '\r' <"$log" | grep '^not ok ')
	f=${#bad[@]}
	plan=$(sed -n 's/^1\.\.\([0-9]\+\).*/\1/p' "$log" | tail -1)
	if [ "$status" != 0 ] && [ "$f" = 0 ]; then
		bad+=("the suite ended with status $status")
		f=1
	elif [ -n "$plan" ] && [ $((p + f + s)) -lt "$plan" ]; then
		bad+=("the suite told of $((p + f + s)) tests, and planned $plan")
		f=$((f + 1))
	fi
	counted="$p passed, $f failed, $s skipped"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	for b in "${bad[@]}"; do failures+=("$suite: $b"); done
}

# A line for each suite, and for each guest and build that tap.sh has timed. A guest's time in user mode is
# its CPUs': unlike the others, that does not grow when the machine has more to do.
time_table() {
	local suite status seconds
	printf '# %-52s %8s %8s\n' 'time in seconds' all 'of CPUs'
	for suite in "${suites[@]}"; do
		read -r status seconds 2>/dev/null <"$suite.end" || continue
		sed -n 's/^[# ]*time: //p' "$suite.log" | awk -v suite="$suite" -v seconds="$seconds" '
			{ n = $0; sub(/^[0-9]+ [0-9]+ [0-9]+ /, "", n); used += $2 + $3
			  line[NR] = sprintf("#   %-50s %8d %8d", substr(n, 1, 50), $1, $2 + $3) }
			END { printf "# %-52s %8d %8d\n", suite, seconds, used; for (i = 1; i <= NR; i++) print line[i] }'
	done
}

echo "# ends within $(((all + 59) / 60)) minutes$([ $# -gt 0 ] || [ ! -e "$took" ] || echo "; took $(($(<"$took") / 60)) the last time")"
passed=0 failed=0 skipped=0 failures=()
for suite in "${suites[@]}"; do
	echo "# suite $suite"
	: >"$suite.log"
	run "$suite" &
	running=$!
	show "$suite"
	# Not there on a full disk.
	read -r status seconds 2>/dev/null <"$suite.end" || status=1 seconds=0
	count "$suite" "$status"
	echo "# suite $suite: $counted, $seconds s"
	running=''
done

time_table
# The last, since it is what one wants to know.
for b in "${failures[@]}"; do echo "# failed: $b"; done
echo "# $((SECONDS - begin)) s"
# What was cut short says nothing of the next time.
[ $# -gt 0 ] || [ $((SECONDS - begin)) -ge "$all" ] || echo $((SECONDS - begin)) >"$took"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
