#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# bench-live.sh [-k KIND]: load servers on plain sockets and on Fastsocket's, and print how they compare.
# What is run and what is printed is explained in tools/testing/fastsocket/live/live.sh.
#
#   -k KIND    the guest's kernel in build/KIND: vm (default); or a directory with a built kernel
#
# WHERE=guest, the default, boots a guest with CPUS (4) and MEM (2G), and changes nothing on this machine.
# FASTSOCKET_KVM=1 has it use /dev/kvm: without that the CPUs are emulated, and their speed says nothing.
# WHERE=host takes the kernel that runs here, which must be one with Fastsocket, and root. What it makes is
# in network namespaces of its own, and gone at the end.
#
# ROUNDS, REQUESTS and RUN_SECONDS: see live.sh.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=tools/testing/fastsocket/live/cpus.sh
. "$TOP/tools/testing/fastsocket/live/cpus.sh"

PATH=$PATH:/usr/sbin:/sbin
kind=vm
while getopts k: opt; do
	case $opt in
	k) kind=$OPTARG ;;
	*) sed -n '4,/^$/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done
cpus=${CPUS:-4} mem=${MEM:-2G} where=${WHERE:-guest}
library=$TOP/build/cargo/release/libfsocket.so server=$TOP/build/cargo/release/fastsocket-demo
live=$TOP/tools/testing/fastsocket/live/live.sh

case $where in
guest) ;;
host)
	[ "$(id -u)" = 0 ] || die "WHERE=host: only root can make network namespaces"
	[ -e /proc/net/fsocket_stats ] || modprobe -q -n fastsocket ||
		die "WHERE=host: this kernel, $(uname -r), has no module fastsocket: boot one that has, or take a guest"
	;;
*) die "WHERE=$where: it is guest or host" ;;
esac
for tool in ab nginx haproxy; do
	command -v $tool >/dev/null || die "there is no $tool: run 'make setup'"
done
if ! [ -r "$library" ] || ! [ -x "$server" ]; then die "there are no tools: run 'make tools'"; fi

if [ "$where" = host ]; then exec "$live" "$library" "$server"; fi

# The guest sees nothing of what this machine does beside it.
reasons=()
online=$(getconf _NPROCESSORS_ONLN)
if [ "${FASTSOCKET_KVM:-}" = 1 ] && ! [ -w /dev/kvm ]; then die "FASTSOCKET_KVM=1, and /dev/kvm cannot be used"; fi
[ "$cpus" -le "$online" ] || reasons+=("the guest has $cpus CPUs, and the machine under it has $online")
used=$(busy_now)
[ "$used" -le 5 ] || reasons+=("others took $used % of the CPU time of the machine under it before it began")

quoted=$(printf ' %q' "$library" "$server" "${reasons[@]}")
read -r _ idle stolen all < <(cpu_times all)
status=0
"$TOP/scripts/vm.sh" -k "$kind" -c "$cpus" -m "$mem" -t 7200 -- "$(printf 'ROUNDS=%q REQUESTS=%q RUN_SECONDS=%q %q' \
	"${ROUNDS:-}" "${REQUESTS:-}" "${RUN_SECONDS:-}" "$live")$quoted" || status=$?

# All that was used, less what the guest used: fields 16 and 17 are the time of children that ended.
read -r _ idle_later stolen_later all_later < <(cpu_times all)
ours=$(awk '{ print $16 + $17 }' /proc/$$/stat)
others=$(percent $((all_later - all - idle_later + idle - stolen_later + stolen - ours)) $((all_later - all)))
stolen=$(percent $((stolen_later - stolen)) $((all_later - all)))
[ "$others" -le 5 ] || note "others took $others % of this machine's CPU time meanwhile: the ratios say nothing about speed"
[ "$stolen" -lt 1 ] || note "$stolen % of this machine's CPU time was taken by its host: the ratios say nothing about speed"
exit $status
