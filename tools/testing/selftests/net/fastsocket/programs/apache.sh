# shellcheck shell=bash disable=SC2034,SC2154,SC2317
# SPDX-License-Identifier: GPL-2.0
#
# Apache: processes, or processes with threads; graceful restarts.

needs=(apache2)
variants=(prefork worker event)
path=64

start()
{
	cat >"$home/apache.conf" <<-END
		ServerRoot $home
		ServerName test
		PidFile $home/pid
		Listen $port
		User www-data
		Group www-data
		ErrorLog $home/error.log
		LoadModule mpm_${variant}_module /usr/lib/apache2/modules/mod_mpm_$variant.so
		LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
		StartServers $WORKERS
		MaxConnectionsPerChild 0
		DocumentRoot $home/www
	END
	run=(apache2 -DFOREGROUND -f "$home/apache.conf")
}

settled() { [ "$(children | wc -l)" -ge "$WORKERS" ]; }

# As many new children as there shall be.
reload()
{
	old=$(children)
	kill -USR1 "$main"
	wait_for renewed
}
renewed() { [ "$(children | grep -cvxF "$old")" -ge "$WORKERS" ]; }
