# shellcheck shell=bash disable=SC2034,SC2154,SC2317
# SPDX-License-Identifier: GPL-2.0
#
# Sockets that a service manager listens at, the way of systemd: it accepts and
# starts a program for each connection, or it hands the listening socket over,
# here to a server whose processes all accept.

needs=(systemd-socket-activate python3)
variants=(accept handed-over)

start()
{
	plain='' share=1
	case $variant in
	accept)
		plain=1 share=5
		cat >"$home/answer" <<-'END'
			#!/bin/sh
			while read -r line && [ "${#line}" -gt 1 ]; do :; done
			printf 'HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\nserved\n'
		END
		chmod 755 "$home/answer"
		run=(systemd-socket-activate --accept --inetd -l "0.0.0.0:$port" "$home/answer")
		;;
	handed-over)
		# As in a unit: the service has the library, and who listens has not.
		run=(env -u LD_PRELOAD systemd-socket-activate -l "0.0.0.0:$port")
		[ "$kind" = plain ] || run+=(-E LD_PRELOAD="$dir/libfsocket.so")
		run+=(python3 "$DIR/aioserver.py" fd "$WORKERS")
		;;
	esac
}
