# shellcheck shell=bash disable=SC2034,SC2154,SC2317
# SPDX-License-Identifier: GPL-2.0
#
# HAProxy with a thread for each CPU, which answers by itself: reloaded by its
# master, and by a new process that gets the sockets from the old one (-x).

needs=(haproxy)
variants=(master seamless)

start()
{
	cat >"$home/haproxy.cfg" <<-END
		global
		    nbthread $WORKERS
		    stats socket $home/socket mode 600 level admin expose-fd listeners
		    hard-stop-after 60s
		    tune.listener.multi-queue off
		defaults
		    mode http
		    timeout client 300s
		    timeout server 300s
		    timeout connect 300s
		frontend web
		    bind :$port
		    option httpclose
		    http-request return status 200 content-type text/plain string served
	END
	case $variant in
	master) run=(haproxy -W -f "$home/haproxy.cfg" -p "$home/pid") ;;
	seamless)
		run=(haproxy -D -f "$home/haproxy.cfg" -p "$home/pid")
		# The first one leaves when it is replaced, and the server is to stay.
		run=(sh -c "${run[*]} && exec sleep 100000")
		;;
	esac
}

settled() { [ -S "$home/socket" ] && [ -s "$home/pid" ]; }

reload()
{
	old=$(cat "$home/pid")
	case $variant in
	master)
		old=$(children)
		kill -USR2 "$main"
		wait_for renewed
		;;
	seamless)
		another haproxy -D -f "$home/haproxy.cfg" -p "$home/pid" -x "$home/socket" -sf "$old"
		wait_for gone
		;;
	esac
}
# The old one has time to end what it serves.
renewed() { children | grep -qvxF "$old" && settled; }
gone() { ! kill -0 "$old" 2>/dev/null; }
