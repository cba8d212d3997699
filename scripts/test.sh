#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# test.sh [SUITE...]: run the test suites in tools/testing/fastsocket/suites, those named or all, and
# end with a line `N passed, N failed, N skipped`. Ends non-zero if a test failed or none passed.
#
# A suite is an executable that prints TAP: `ok N - name`, `not ok N - name`, `ok N - name # SKIP
# why` at the start of a line count; everything else is shown and kept, and does not count. A suite
# that ends non-zero without a failed test, or tells of fewer tests than its plan (1..N), counts as
# one failed test. Needs no terminal and no standard input.
#
# What each suite printed is kept in build/logs/SUITE.log.

set -uo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$TOP" || exit 1
exec </dev/null

"$TOP/scripts/setup.sh" --check || die "run 'make setup' first"

dir=tools/testing/fastsocket/suites
suites=("$@")
if [ ${#suites[@]} = 0 ]; then
	mapfile -t suites < <(cd $dir && printf '%s\n' [0-9]*.sh | LC_ALL=C sort)
fi
limit=${FASTSOCKET_SUITE_TIMEOUT:-3600}
passed=0 failed=0 skipped=0 failures=()
mkdir -p "$BUILD/logs"
begin=$SECONDS

for suite in "${suites[@]}"; do
	suite=${suite##*/} suite=${suite%.sh}
	[ -x "$dir/$suite.sh" ] || die "there is no suite $suite"
	log=$BUILD/logs/$suite.log
	start=$SECONDS
	echo "# suite $suite"
	timeout -k 30 "$limit" "$dir/$suite.sh" 2>&1 | tr -d '\r' | tee "$log"
	status=${PIPESTATUS[0]}

	s=$(grep -cE '^ok .*# *(SKIP|XFAIL)' "$log")
	p=$(($(grep -c '^ok ' "$log") - s))
	mapfile -t bad < <(grep '^not ok ' "$log")
	f=${#bad[@]}
	plan=$(sed -n 's/^1\.\.\([0-9]\+\).*/\1/p' "$log" | tail -1)
	if [ "$status" != 0 ] && [ "$f" = 0 ]; then
		[ "$status" != 124 ] || echo "# $suite took longer than $limit s"
		bad+=("the suite ended with status $status")
		f=1
	elif [ -n "$plan" ] && [ $((p + f + s)) -lt "$plan" ]; then
		bad+=("the suite told of $((p + f + s)) tests, and planned $plan")
		f=$((f + 1))
	fi
	echo "# suite $suite: $p passed, $f failed, $s skipped, $((SECONDS - start)) s"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	for b in "${bad[@]}"; do failures+=("$suite: $b"); done
done

for b in "${failures[@]}"; do echo "# failed: $b"; done
echo "# $((SECONDS - begin)) s"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
