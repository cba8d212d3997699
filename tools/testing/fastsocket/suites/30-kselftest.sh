#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Our kselftests, in guests with 1 and 4 CPUs; with 2 and 8, those of them that the number of CPUs
# makes a difference to; and with a CPU that is isolated, who may run where.

. "$(dirname "$0")/../tap.sh"

if ! have_selftests; then
	skip "kselftests" "there are none"
	plan
	exit
fi
try "kselftests build" install_selftests || exit 1
mapfile -t tests < <(list_selftests)
by_cpus=(affinity churn locality reuseport steal storm strand waiters)
for cpus in 1 2 4 8; do
	run=("${tests[@]}") reloads=50 kills=50 requests=3000 storm=60
	case $cpus in
	1) reloads=5 kills=5 ;;
	2) run=("${by_cpus[@]}") kills=2 storm=15 ;;
	# nginx has fewer workers than there are CPUs.
	8) run=("${by_cpus[@]}" nginx.sh) reloads=1 kills=2 requests=500 storm=15 ;;
	esac
	guest "kselftest-$cpus" -k vm -c $cpus -t 3000 -- LOAD=1 LIMIT=1800 \
		FASTSOCKET_RELOADS=$reloads FASTSOCKET_KILLS=$kills \
		FASTSOCKET_REQUESTS=$requests FASTSOCKET_STORM_SECS=$storm \
		"$TESTING/run-selftests.sh" "$BUILD/selftests/fastsocket" "${run[@]}"
	retap "$cpus CPUs" $? "$BUILD/logs/kselftest-$cpus.out"
done
guest kselftest-isolated -k vm -c 4 -a isolcpus=3 -t 1200 -- LOAD=1 LIMIT=900 \
	"$TESTING/run-selftests.sh" "$BUILD/selftests/fastsocket" affinity
retap "4 CPUs, one isolated" $? "$BUILD/logs/kselftest-isolated.out"
plan
