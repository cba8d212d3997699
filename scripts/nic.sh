#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# nic.sh IFACE [options]: `fastsocket nic` of this clone, which is built if it is not there. For what it sets and
# its options: nic.sh --help, and Documentation/networking/fastsocket/knobs.rst.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

command=$TOP/build/cargo/release/fastsocket
[ -x "$command" ] || progress "building the command" tools.log "$TOP/scripts/tools.sh" build
exec "$command" nic "$@"
