#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Programs as Debian has them, plain and spawned, in a soak only: what they need is not installed else. A guest for
# each, so that one that hangs or dies says nothing of the others.

. "$(dirname "$0")/../tap.sh"

if ! have_selftests || [ "${FASTSOCKET_SOAK:-}" != 1 ]; then
	echo "1..0 # SKIP for soaks"
	exit
fi
try "kselftests build" install_selftests || exit 1

programs=(tools/testing/selftests/net/fastsocket/programs/*.sh)
for program in "${programs[@]}"; do
	name=$(basename "$program" .sh)
	# One at a time: what is compared are times.
	guest "programs-$name" -k vm -c 4 -m 4G -t 3600 -- LOAD=1 LIMIT=3500 FASTSOCKET_PROGRAMS="$name" \
		FASTSOCKET_EXPECT_ALL="${FASTSOCKET_EXPECT_ALL:-}" \
		"$TESTING/run-selftests.sh" "$BUILD/selftests/fastsocket" programs.sh
	retap programs $? "$BUILD/logs/programs-$name.out"
done
plan
