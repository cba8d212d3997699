#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# AppArmor's label of the unconfined is not counted any more when the module has
# been there: who gets it, by birth or because his namespace goes, has it, with
# the module and after it.

# shellcheck disable=SC2317
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

A=/sys/kernel/security/apparmor
NS=fslabel$$

mountpoint -q /sys/kernel/security || mount -t securityfs none /sys/kernel/security
[ -e $A/policy/namespaces ] || skip_all "AppArmor"
modprobe -q fastsocket
[ -e /dev/fastsocket ] || skip_all "fastsocket"

cleanup() { [ ! -d "$A/policy/namespaces/$NS" ] || rmdir "$A/policy/namespaces/$NS"; }
trap cleanup EXIT

label() { tr -d '\n\0' </proc/self/attr/current; }

# Sockets and files, made and left to be closed. Nobody listens there.
use()
{
	local i

	for ((i = 0; i < 100; i++)); do : </dev/tcp/127.0.0.1/1; done 2>/dev/null
	return 0
}

# Enters another namespace, says its label, and does so again when it has gone.
move()
{
	echo -n "changeprofile :$NS:unconfined" >/proc/self/attr/current
	# shellcheck disable=SC2034
	exec {kept}</dev/null
	use
	label
	echo
	read -r
	use
	# The old one is replaced when it is looked at.
	# shellcheck disable=SC2034
	exec {new}</dev/null
	label
	echo
}
moves()
{
	local first second

	mkdir "$A/policy/namespaces/$NS" || return
	coproc move
	read -r first <&"${COPROC[0]}"
	rmdir "$A/policy/namespaces/$NS"
	echo >&"${COPROC[1]}"
	read -r second <&"${COPROC[0]}"
	wait "$COPROC_PID"
	echo "$first $second"
}

for i in with without with; do
	if [ $i = with ]; then modprobe -q fastsocket; else modprobe -rq fastsocket; fi
	check_eq "$i the module: unconfined" "unconfined" "$(label)"
	# shellcheck disable=SC2030
	check_eq "$i the module: and when the namespace goes" "unconfined unconfined" "$(moves)"
	check "$i the module: sockets and files" use
done

finish
