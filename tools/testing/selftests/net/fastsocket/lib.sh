# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# What the scripts share: results as TAP, and waiting for events.

ksft_skip=4
WAIT_S=${WAIT_S:-60}
DIR=$(cd "$(dirname "$0")" && pwd)
MARK=
test_nr=0
test_failed=0
test_skipped=0

msg() { echo "# $*"; }

pass()
{
	test_nr=$((test_nr + 1))
	echo "ok $test_nr $*"
}

fail()
{
	test_nr=$((test_nr + 1))
	test_failed=$((test_failed + 1))
	echo "not ok $test_nr $*"
}

# The name of the test, and the command that must succeed.
check()
{
	local name=$1

	shift
	if "$@"; then pass "$name"; else fail "$name"; fi
}

# The same, for a command that must fail.
check_not()
{
	local name=$1

	shift
	if "$@"; then fail "$name"; else pass "$name"; fi
}

check_eq()
{
	if [ "$2" = "$3" ]; then
		pass "$1"
	else
		msg "expected '$2', got '$3'"
		fail "$1"
	fi
}

skip()
{
	if [ -n "${FASTSOCKET_EXPECT_ALL:-}" ]; then
		fail "$1 (missing)"
	else
		test_nr=$((test_nr + 1))
		test_skipped=$((test_skipped + 1))
		echo "ok $test_nr $1 # SKIP"
	fi
}

# There is nothing to test here at all.
skip_all()
{
	if [ -n "${FASTSOCKET_EXPECT_ALL:-}" ]; then
		echo "not ok 1 $1 (missing)"
		exit 1
	fi
	echo "1..0 # SKIP $1"
	exit $ksft_skip
}

finish()
{
	echo "1..$test_nr"
	msg "Totals: pass:$((test_nr - test_failed - test_skipped)) fail:$test_failed xfail:0 xpass:0 skip:$test_skipped error:0"
	[ "$test_failed" = 0 ]
	exit
}

# Repeat a command until it succeeds.
wait_for()
{
	local end=$((SECONDS + WAIT_S))

	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

loaded() { [ -e /sys/module/fastsocket ]; }

# A listener of before may wait for a grace period to pass.
unload()
{
	! loaded || wait_for rmmod fastsocket 2>/dev/null
}

load() { modprobe fastsocket "$@"; }

# Where the kernel's log is now, to look only at what comes after.
mark_log()
{
	MARK="fastsocket-selftest $$ $RANDOM"
	echo "$MARK" >/dev/kmsg
}

since_mark() { dmesg | sed -n "/$MARK/,\$p" | tail -n +2; }

# Start fstool in the background: its first line is "ready PID".
tool_pid=
tool()
{
	local out

	out=$(mktemp)
	"$DIR/fstool" "$@" >"$out" &
	wait_for grep -q ready "$out" || { rm -f "$out"; return 1; }
	tool_pid=$(sed -n 's/^ready //p' "$out")
	rm -f "$out"
}

# Column $2 of line $3 (a CPU, or total) of statistics on stdin, by the name in
# the first line: stat_column <file column line.
stat_column()
{
	awk -v name="$1" -v line="$2" '
		NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) col = i }
		NR > 1 && $1 == line && col { print $col; found = 1 }
		END { exit !found }'
}
