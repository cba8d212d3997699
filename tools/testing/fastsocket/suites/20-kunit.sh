#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# KUnit: the suites that are built in (Rust's doctests among them) run at boot, those of the
# module when it is loaded. Results come from the kernel's log.

. "$(dirname "$0")/../tap.sh"

guest kunit -k vm -c 2 -a kunit.enable=1 -- modprobe fastsocket
status=$?
# The console may hold text before the first line's time stamp.
sed -n '/KTAP version 1/,$p' "$BUILD/logs/kunit.console" >"$BUILD/logs/kunit.ktap"
retap kunit $status "$BUILD/logs/kunit.ktap"
plan
