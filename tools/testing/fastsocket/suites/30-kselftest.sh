#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Our kselftests, in a guest with 1 and with 4 CPUs.

. "$(dirname "$0")/../tap.sh"

if ! have_selftests; then
	skip "kselftests" "there are none"
	plan
	exit
fi
try "kselftests build" install_selftests || exit 1
mapfile -t tests < <(list_selftests)
for cpus in 1 4; do
	rounds=50
	[ $cpus != 1 ] || rounds=5
	guest "kselftest-$cpus" -k vm -c $cpus -t 2400 -- LOAD=1 LIMIT=900 \
		FASTSOCKET_RELOADS=$rounds FASTSOCKET_KILLS=$rounds \
		"$TESTING/run-selftests.sh" "$BUILD/selftests/fastsocket" "${tests[@]}"
	retap "$cpus CPUs" $? "$BUILD/logs/kselftest-$cpus.out"
done
plan
