# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What the suites share: TAP lines, guests, kselftests built on the host, and how thorough to be.

cd "$(dirname "${BASH_SOURCE[0]}")/../../.." || exit 1
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

TESTING=$TOP/tools/testing/fastsocket
TAP_N=0

# ok NAME, not_ok NAME, skip NAME WHY
ok() { TAP_N=$((TAP_N + 1)); echo "ok $TAP_N - $1"; }
not_ok() { TAP_N=$((TAP_N + 1)); echo "not ok $TAP_N - $1"; }
skip() { TAP_N=$((TAP_N + 1)); echo "ok $TAP_N - $1 # SKIP $2"; }
plan() { echo "1..$TAP_N"; }

# Show text as comments: a test's own TAP must not count as the suite's. What took no time needs no line.
comment() { sed -u '/^# time: [0-4] /d; s/^/# /'; }

# soak SETTING LONG: a setting of a test, for `make test`, where minutes count, and for `make soak`.
soak() { if [ "${FASTSOCKET_SOAK:-}" = 1 ]; then echo "$2"; else echo "$1"; fi; }

# timed NAME COMMAND...: run it, and say on stderr how long it took and how much time of CPUs it used, in a
# line that test.sh reads: seconds, seconds in user mode and in the kernel, the name.
timed() {
	local TIMEFORMAT="# time: %0R %0U %0S ${1//%/%%}"
	shift
	time "$@"
}

# try NAME COMMAND...: the command's status is the result.
try() {
	local name=$1
	shift
	timed "$name" "$@" 2>&1 | comment
	if [ "${PIPESTATUS[0]}" = 0 ]; then ok "$name"; else not_ok "$name"; return 1; fi
}

# retap PREFIX STATUS LOG: tell the TAP in a guest's output as ours. Where a test has tests below
# it, those count, and not the line that sums them up. A guest that ended badly without a failed
# test, or told of no test, is a failed test itself.
retap() {
	local prefix=$1 status=$2 log=$3 result name bad=0 n=0
	while IFS=$'\t' read -r result name; do
		n=$((n + 1))
		case $result in
		ok) ok "$prefix: $name" ;;
		skip) skip "$prefix: $name" "told by the test" ;;
		*) not_ok "$prefix: $name"; bad=1 ;;
		esac
	done < <("$TESTING/flatten.awk" "$log")
	if [ "$status" -ge 97 ] || [ "$status" != 0 ] && [ $bad = 0 ]; then
		not_ok "$prefix: $(guest_status "$status")"
	elif [ $n = 0 ]; then
		not_ok "$prefix: no test was run"
	fi
}

guest_status() {
	case $1 in
	97) echo "the kernel complained" ;;
	98) echo "the guest died or took too long" ;;
	99) echo "the guest does not boot" ;;
	*) echo "ended with status $1" ;;
	esac
}

# guest NAME OPTIONS...: boot by vm.sh; the output is shown as comments and kept in build/logs/NAME.out,
# the kernel's console in build/logs/NAME.console. Ends with the command's status.
guest() {
	local name=$1
	shift
	mkdir -p "$BUILD/logs"
	timed "$name" scripts/vm.sh -l "$BUILD/logs/$name.console" "$@" 2>&1 | sed -u 's/\r//g' |
		tee "$BUILD/logs/$name.out" | comment
	return "${PIPESTATUS[0]}"
}

# start NAME OPTIONS...: as guest, but beside others: as many as there are CPUs. finish NAME waits for it, and
# ends with the command's status. Most guests leave a core idle for half of the time.
declare -A started
start() {
	local name=$1
	while [ "$(jobs -pr | wc -l)" -ge "$(nproc)" ]; do wait -n; done
	rm -f "$BUILD/logs/$name.status"
	{
		guest "$@"
		echo $? >"$BUILD/logs/$name.status"
	} | sed -u "/^[# ]*time: /!s/^# /# $name: /" &
	started[$name]=$!
}
finish() {
	wait "${started[$1]}" 2>/dev/null
	return "$(cat "$BUILD/logs/$1.status")"
}

# selftests DIR TARGET...: the kernel's make for selftests in DIR, for the headers of the vm kernel.
selftests() {
	local dir=$1
	shift
	scripts/kbuild.sh vm -s headers &&
	make -s -j"$(nproc)" -C "$SRC/tools/testing/selftests/$dir" CC=gcc \
		KHDR_INCLUDES="-isystem $BUILD/vm/usr/include" "$@"
}

# Our own kselftests: install them in build/selftests/fastsocket, and print the names of the tests. Two
# suites may want that at a time.
install_selftests() (
	out=$BUILD/selftests
	mkdir -p "$out/obj"
	exec 7>"$out/.lock"
	flock 7
	progress kselftests kselftests.log \
		selftests net/fastsocket OUTPUT="$out/obj" INSTALL_PATH="$out/fastsocket" all install
)
list_selftests() {
	make -s -C "$SRC/tools/testing/selftests/net/fastsocket" OUTPUT="$BUILD/selftests/obj" COLLECTION=x \
		emit_tests 2>/dev/null | sed -n 's/^x://p'
}
have_selftests() { [ -e "$TOP/tools/testing/selftests/net/fastsocket/Makefile" ]; }
