#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs the 32-bit program, where there is one and the kernel can.

dir=$(dirname "$0")

skip()
{
	if [ -n "${FASTSOCKET_EXPECT_ALL:-}" ]; then
		echo "not ok 1 $1 (missing)"
		exit 1
	fi
	echo "1..0 # SKIP $1"
	exit 4
}

[ -x "$dir/compat32" ] || skip "a compiler for 32 bits"
modprobe -q fastsocket
[ -e /dev/fastsocket ] || skip "fastsocket"
"$dir/compat32"
ret=$?
[ $ret -ne 126 ] || skip "32-bit programs in this kernel"
exit $ret
