#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# run-selftests.sh DIR TEST...: run kselftests in a guest, as kselftest's own runner does: each where
# it is in DIR, with a time limit, its output as comments, then one TAP line; status 4 is a skip. LIMIT is the
# time limit in seconds. LOAD=1 loads the module first (and again, where a test has unloaded it), with what is in
# PARAMETERS.
# PRELOAD is a library that the tests get by LD_PRELOAD. KMEMLEAK=1 looks for leaked memory at the end.

set -uo pipefail
cd "${1:?}" || exit 1
shift
limit=${LIMIT:-300}
n=0 failed=0

result() {
	n=$((n + 1))
	echo "$1 $n selftests: $2"
}

for t; do
	# shellcheck disable=SC2086
	if [ -n "${LOAD:-}" ] && ! grep -q '^fastsocket ' /proc/modules && ! modprobe fastsocket ${PARAMETERS:-}; then
		result 'not ok' "modprobe fastsocket ${PARAMETERS:-}"
		exit 1
	fi
	echo "# $t"
	# The kernel's log says which test a complaint belongs to.
	echo "<6>selftest: $t" >/dev/kmsg
	begin=$SECONDS
	(cd "$(dirname "$t")" && exec timeout -k 10 "$limit" env LD_PRELOAD="${PRELOAD:-}" "./${t##*/}") \
		</dev/null 2>&1 | sed -u 's/^/# /'
	status=${PIPESTATUS[0]}
	echo "# $t: $((SECONDS - begin)) s"
	case $status in
	0) result ok "$t" ;;
	4) result ok "$t # SKIP" ;;
	124 | 137) result 'not ok' "$t # took longer than $limit s"; failed=1 ;;
	*) result 'not ok' "$t # status $status"; failed=1 ;;
	esac
done

if [ -n "${KMEMLEAK:-}" ]; then
	leak=/sys/kernel/debug/kmemleak
	[ -e $leak ] || mount -t debugfs none /sys/kernel/debug
	# Only what two scans call unreachable is: a pointer may be in a register at one of them.
	echo scan >$leak && sleep 6 && echo scan >$leak
	if [ -s $leak ] && [ -n "$(cat $leak)" ]; then
		sed 's/^/# /' $leak
		result 'not ok' kmemleak
		failed=1
	else
		result ok kmemleak
	fi
fi
exit $failed
