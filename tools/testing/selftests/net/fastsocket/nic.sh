#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# `fastsocket nic`: what it sets on a veth device, and that all is as before when it is
# undone. What it does to a card is tested with a fake one, in tools/net/fastsocket.

# shellcheck disable=SC2317
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

BUILT=${FASTSOCKET_BUILT:-$DIR/../../cargo/release}
NS=fsnic-$$
DEV=fsveth$$
STATE=/run/fastsocket/nic-

[ -x "$BUILT/fastsocket" ] || skip_all "$BUILT/fastsocket"
[ "$(nproc)" -gt 1 ] || skip_all "a second CPU"
ip netns add "$NS" || skip_all "network namespaces"

dir=$(mktemp -d)
cleanup()
{
	[ ! -e "$STATE$DEV.json" ] || ns "$fastsocket" nic "$DEV" --undo
	ip netns del "$NS"
	rm -r "$dir"
}
trap cleanup EXIT

# For a user who may not look into the place where it was built.
chmod 755 "$dir"
install -m 755 "$BUILT/fastsocket" "$dir/"
fastsocket=$dir/fastsocket

ns() { ip netns exec "$NS" "$@"; }
ns_nic() { ns "$fastsocket" nic "$@" >"$dir/out" 2>"$dir/err"; }
as_nobody()
{
	ns setpriv --reuid 65534 --regid 65534 --clear-groups "$fastsocket" "$@" \
		>"$dir/out" 2>"$dir/err"
}
# It ends with status 1, and one line that has the text.
refuses() # text command...
{
	local text=$1

	shift
	"$@"
	[ $? = 1 ] && [ "$(wc -l <"$dir/err")" = 1 ] && grep -qF -- "$text" "$dir/err"
}
prints() { grep -qxF -- "$1" "$dir/out"; }

# All that the command may set.
veth_is() { ns sh -c "grep . /sys/class/net/$DEV/queues/*/*_cpus" 2>/dev/null; }

ip -n "$NS" link add "$DEV" type veth peer name peer || skip_all "veth"
all=$(printf '%x' $(((1 << $(nproc)) - 1)))
rps=/sys/class/net/$DEV/queues/rx-0/rps_cpus
before=$(veth_is)
queues=$(ns ls "/sys/class/net/$DEV/queues")

check "veth: a dry run" ns_nic "$DEV" --dry-run
check "veth: prints what would be written" prints "echo $all > $rps"
check_eq "veth: and writes nothing" "$before" "$(veth_is)"
check_not "veth: and keeps nothing" test -e "$STATE$DEV.json"

check "veth: a run" ns_nic "$DEV"
check_eq "veth: spreads packets over all CPUs" "$all" "$(ns cat $rps | sed 's/^0*//')"
check_eq "veth: and has the same queues" "$queues" "$(ns ls "/sys/class/net/$DEV/queues")"
check "veth: keeps what was there" test -e "$STATE$DEV.json"
check "veth: a second run" ns_nic "$DEV" --cpus 1
check_eq "veth: spreads them over others" 2 "$(ns cat $rps | sed 's/^0*//')"
check "veth: it is undone" ns_nic "$DEV" --undo
check_eq "veth: all is as before" "$before" "$(veth_is)"
check_not "veth: nothing is kept" test -e "$STATE$DEV.json"

check "veth: there is nothing to undo" refuses "nothing to undo" ns_nic "$DEV" --undo
check "veth: it has no rules" refuses "cannot steer" ns_nic "$DEV" --ntuple
check "veth: it has no such CPU" refuses "not online" ns_nic "$DEV" --cpus 8191
check "the loopback device is refused" refuses "loopback" ns_nic lo
check "a device that is not there is refused" refuses "no network device" ns_nic no-such
if command -v setpriv >/dev/null; then
	check "a user is refused" refuses "root's" as_nobody nic "$DEV"
	check_eq "veth: and has changed nothing" "$before" "$(veth_is)"
else
	skip "a user"
fi

finish
