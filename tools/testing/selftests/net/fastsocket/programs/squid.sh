# shellcheck shell=bash disable=SC2034,SC2154,SC2317
# SPDX-License-Identifier: GPL-2.0
#
# Squid with several workers, which get the socket from a process that has bound
# it. These are executed with another effective user than their real one, so
# that the dynamic linker leaves LD_PRELOAD alone. It answers from its own
# directory of icons.

needs=(squid)
by=run
path=squid-internal-static/icons/SN.png

start()
{
	cat >"$home/squid.conf" <<-END
		workers $WORKERS
		http_port $port accel defaultsite=test
		http_access allow all
		cache deny all
		cache_mem 8 MB
		access_log none
		cache_log $home/cache.log
		pid_filename $home/pid
		coredump_dir $home
		pinger_enable off
		shutdown_lifetime 1 seconds
		cache_effective_user proxy
		visible_hostname test
		max_filedescriptors 1024
	END
	install -d -o proxy -g proxy /run/squid
	run=(squid --foreground -n "$kind$$" -f "$home/squid.conf")
}

# The first, one that binds, and the workers.
settled() { [ "$(ip netns pids "$NS-$kind" | wc -l)" -gt $((WORKERS + 1)) ]; }
