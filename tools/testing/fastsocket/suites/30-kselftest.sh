#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Our kselftests, in a guest with 4 CPUs; with 1, without those that take long and are the same there, which are left
# to soaks; with 2 and 8, those of them that the number of CPUs makes a difference to; and with a CPU that is isolated,
# who may run where.

. "$(dirname "$0")/../tap.sh"

if ! have_selftests; then
	skip "kselftests" "there are none"
	plan
	exit
fi
try "kselftests build" install_selftests || exit 1
mapfile -t tests < <(list_selftests)
same=(label.sh mark module.sh nginx.sh numbers optin.sh reject)
by_cpus=(churn locality placement reuseport steal storm strand waiters)

# kselftests CPUS: begin a guest. With 2, packets are steered.
kselftests() {
	local cpus=$1 run rounds compare storm reloads kills requests parameters=''
	run=("${tests[@]}") rounds=$(soak 10 100) compare=$(soak 0 1) storm=$(soak 10 120)
	reloads=$(soak 3 20) kills=$(soak 3 20) requests=$(soak 500 3000)
	case $cpus in
	4) rounds=$(soak 20 100) reloads=$(soak 5 100) kills=$(soak 10 100) requests=$(soak 1500 10000) \
		storm=$(soak 20 600) ;;
	1)
		[ "${FASTSOCKET_SOAK:-}" = 1 ] ||
			mapfile -t run < <(printf '%s\n' "${tests[@]}" | grep -Fxv "${same[@]/#/-e}")
		;;
	2) run=("${by_cpus[@]}" bind handshake refs syncookie) \
		parameters="enable_receive_flow_deliver=1 enable_receive_cpu_selection=1" ;;
	# nginx has fewer workers than there are CPUs, and clients roam for a minute; a soak has time for that.
	8)
		mapfile -t run < <(printf '%s\n' "${by_cpus[@]}" | grep -Fxv -e locality -e placement -e reuseport)
		[ "${FASTSOCKET_SOAK:-}" != 1 ] || run=("${by_cpus[@]}" nginx.sh rfd)
		;;
	esac
	start "kselftest-$cpus" -k vm -c "$cpus" -m "$(soak 2G 6G)" -t "$(soak 1800 7200)" -- LOAD=1 LIMIT="$(soak 900 3600)" \
		PARAMETERS="$parameters" FASTSOCKET_ROUNDS="$rounds" FASTSOCKET_RELOADS="$reloads" FASTSOCKET_KILLS="$kills" \
		FASTSOCKET_REQUESTS="$requests" FASTSOCKET_STORM_SECS="$storm" FASTSOCKET_COMPARE="$compare" \
		FASTSOCKET_SOCKETS="$(soak 16000 64000)" FASTSOCKET_THREADS="$(soak 2000 30000)" \
		FASTSOCKET_BACKLOG="$(soak 4000 65000)" FASTSOCKET_SEQUENCE="$(soak 3 4)" FASTSOCKET_SOAK="${FASTSOCKET_SOAK:-}" \
		"$TESTING/run-selftests.sh" "$BUILD/selftests/fastsocket" "${run[@]}"
}

# Side by side are those that have a core for each of their CPUs then.
for group in 4 "1 2" 8; do
	for cpus in $group; do kselftests "$cpus"; done
	for cpus in $group; do
		finish "kselftest-$cpus"
		retap "$cpus CPUs" $? "$BUILD/logs/kselftest-$cpus.out"
	done
done
guest kselftest-isolated -k vm -c 4 -a isolcpus=3 -t 1200 -- LOAD=1 LIMIT=900 \
	"$TESTING/run-selftests.sh" "$BUILD/selftests/fastsocket" placement
retap "4 CPUs, one isolated" $? "$BUILD/logs/kselftest-isolated.out"
plan
