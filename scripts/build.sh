#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# build.sh KIND [make arguments]: as kbuild.sh, for who waits for the kernel and does not read how it is
# built. It says every few seconds how far it is; all that make prints is in build/logs/build-KIND.log,
# and its last lines are shown if it fails.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

kind=${1:?usage: build.sh KIND [make arguments]}
# How many steps the whole takes, which kbuild does not say.
STEPS=''
[ -e "$BUILD/$kind/vmlinux" ] || case $kind in vm | debug) STEPS=2300 ;; esac
progress "kernel $kind" "build-$kind.log" "$TOP/scripts/kbuild.sh" "$@"
