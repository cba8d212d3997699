#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# demo.sh: boot a guest with 5 CPUs, of which one is the client's, and load servers in it without and with libfsocket.so. The table,
# and what makes it fail, are explained in tools/testing/fastsocket/demo/guest.sh.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

library=$TOP/build/cargo/release/libfsocket.so server=$TOP/build/cargo/release/fastsocket-demo
if ! [ -r "$BUILD/vm/arch/x86/boot/bzImage" ] || ! [ -r "$library" ] || ! [ -x "$server" ]; then
	make -C "$TOP" vm tools
fi

note "booting a guest with 5 CPUs; on a slow or busy machine all this takes some minutes"
exec "$TOP/scripts/vm.sh" -k vm -c 5 -t 3600 -- "REQUESTS=${REQUESTS:-} SMALL_REQUESTS=${SMALL_REQUESTS:-} \
VERBOSE=${VERBOSE:-} tools/testing/fastsocket/demo/guest.sh $(printf '%q %q' "$library" "$server")"
