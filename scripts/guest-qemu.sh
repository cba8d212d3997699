#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# QEMU, as vm.sh has virtme-ng call it: the guest's first process is guest-init.sh, to which the one that
# virtme-ng wants is named. What comes after "--" is no parameter of the kernel, but an argument of that.

init=$(dirname "$(realpath "$0")")/guest-init.sh
exec /usr/bin/qemu-system-x86_64 "${@/ init=/ init=$init -- init=}"
