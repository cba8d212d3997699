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
for cpus in 4 2 8; do
	run=("${by_cpus[@]}") storm=$(soak 10 120)
	[ $cpus != 4 ] || run=("${tests[@]}") storm=$(soak 15 300)
	guest "kselftest-debug-$cpus" -k debug -c $cpus -m 3G -t "$(soak 1800 7200)" -- LOAD=1 \
		LIMIT="$(soak 900 3600)" KMEMLEAK=1 FASTSOCKET_ROUNDS="$(soak 1 20)" FASTSOCKET_RELOADS="$(soak 2 20)" \
		FASTSOCKET_KILLS="$(soak 3 20)" FASTSOCKET_REQUESTS="$(soak 300 1500)" \
		FASTSOCKET_STORM_SECS="$storm" FASTSOCKET_COMPARE=0 \
		FASTSOCKET_SOAK="${FASTSOCKET_SOAK:-}" \
		"$TESTING/run-selftests.sh" "$BUILD/selftests/fastsocket" "${run[@]}"
	retap "debug, $cpus CPUs" $? "$BUILD/logs/kselftest-debug-$cpus.out"
done
plan
