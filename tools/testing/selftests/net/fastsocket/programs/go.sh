# shellcheck shell=bash disable=SC2034,SC2154,SC2317
# SPDX-License-Identifier: GPL-2.0
#
# A static server in Go: one process, whose threads share an epoll descriptor,
# and several that share the socket.

needs=("$DIR/goserver")
variants=(process processes)
by=run

start()
{
	run=("$DIR/goserver" "$port")
	plain=''
	if [ "$variant" = processes ]; then run+=("$WORKERS"); else plain=1; fi
}
