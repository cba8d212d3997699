#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Our kselftests on the debug kernel (lockdep, KASAN, RCU and sleep checks, ...), and a look for
# leaked memory after them: with 2 CPUs, and in a soak with 4, and some with 8. Emulated CPUs that wait for
# each other need as many real ones, and each of these is slow here.

. "$(dirname "$0")/../tap.sh"

if ! have_selftests; then
	skip "kselftests, debug kernel" "there are none"
	plan
	exit
fi
try "kselftests build" install_selftests || exit 1

# debug CPUS TEST...
debug() {
	local cpus=$1
	shift
	start "kselftest-debug-$cpus" -k debug -c "$cpus" -m 3G -t "$(soak 3000 14400)" -- LOAD=1 \
		LIMIT="$(soak 1200 7200)" KMEMLEAK=1 FASTSOCKET_ROUNDS="$(soak 1 5)" FASTSOCKET_RELOADS="$(soak 2 5)" \
		FASTSOCKET_KILLS="$(soak 3 6)" FASTSOCKET_REQUESTS="$(soak 300 600)" \
		FASTSOCKET_STORM_SECS="$(soak 10 60)" FASTSOCKET_COMPARE=0 \
		FASTSOCKET_SEQUENCE="$(soak 2 3)" FASTSOCKET_SOAK="${FASTSOCKET_SOAK:-}" \
		"$TESTING/run-selftests.sh" "$BUILD/selftests/fastsocket" "$@"
}

# What optin.sh starts takes minutes to get going here; mark.c has the part of the kernel. nic.sh sets what is the stock
# kernel's. What numbers.c compares are times of a kernel without checks, and on one with checks softirqs are so slow that ksoftirqd
# has them, and locality.c finds workers elsewhere. A soak has time for those that take long, and go where
# others go.
for_soaks=(bind label.sh mark module.sh nginx.sh placement reject strand trace.sh)
[ "${FASTSOCKET_SOAK:-}" != 1 ] || for_soaks=()
mapfile -t tests < <(list_selftests | grep -Fxv -e numbers -e locality -e nic.sh -e optin.sh "${for_soaks[@]/#/-e}")
if [ "${FASTSOCKET_SOAK:-}" = 1 ]; then
	guests=(4 8)
	debug 4 "${tests[@]}"
	debug 8 rfd steal storm
else
	guests=(2)
	debug 2 "${tests[@]}"
fi
for cpus in "${guests[@]}"; do
	finish "kselftest-debug-$cpus"
	retap "debug, $cpus CPUs" $? "$BUILD/logs/kselftest-debug-$cpus.out"
done
plan
