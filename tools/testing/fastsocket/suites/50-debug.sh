#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Our kselftests on the debug kernel (lockdep, KASAN, RCU and sleep checks, ...), and a look for
# leaked memory after them: all with 4 CPUs; with 2 and 8, those in which workers serve each other's CPUs.

. "$(dirname "$0")/../tap.sh"

if ! have_selftests; then
	skip "kselftests, debug kernel" "there are none"
	plan
	exit
fi
try "kselftests build" install_selftests || exit 1
# What optin.sh starts takes minutes to get going here; mark.c has the part of the kernel.
mapfile -t tests < <(list_selftests | grep -v optin.sh)
by_cpus=(steal storm)
for cpus in 2 4 8; do
	run=("${by_cpus[@]}") storm=10
	[ $cpus != 4 ] || run=("${tests[@]}") storm=20
	guest "kselftest-debug-$cpus" -k debug -c $cpus -m 3G -t 3000 -- LOAD=1 LIMIT=900 KMEMLEAK=1 \
		FASTSOCKET_ROUNDS=1 FASTSOCKET_RELOADS=3 FASTSOCKET_KILLS=5 FASTSOCKET_REQUESTS=300 \
		FASTSOCKET_STORM_SECS=$storm FASTSOCKET_COMPARE=0 \
		"$TESTING/run-selftests.sh" "$BUILD/selftests/fastsocket" "${run[@]}"
	retap "debug, $cpus CPUs" $? "$BUILD/logs/kselftest-debug-$cpus.out"
done
plan
