#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Our kselftests on the debug kernel (lockdep, KASAN, RCU and sleep checks, ...), and a look for
# leaked memory after them.

. "$(dirname "$0")/../tap.sh"

if ! have_selftests; then
	skip "kselftests, debug kernel" "there are none"
	plan
	exit
fi
try "kselftests build" install_selftests || exit 1
mapfile -t tests < <(list_selftests)
guest kselftest-debug -k debug -c 4 -m 3G -t 3000 -- LOAD=1 LIMIT=900 KMEMLEAK=1 FASTSOCKET_ROUNDS=1 \
	FASTSOCKET_RELOADS=3 FASTSOCKET_KILLS=5 FASTSOCKET_REQUESTS=300 \
	"$TESTING/run-selftests.sh" "$BUILD/selftests/fastsocket" "${tests[@]}"
retap debug $? "$BUILD/logs/kselftest-debug.out"
plan
