# shellcheck shell=bash disable=SC2034,SC2154,SC2317
# SPDX-License-Identifier: GPL-2.0
#
# A server on tokio: one task of it accepts, on any of its threads.

needs=("$BUILT/fastsocket-tokio-server")
plain=1

start() { run=("$BUILT/fastsocket-tokio-server" "$port" "$WORKERS"); }
