# shellcheck shell=bash disable=SC2034,SC2154,SC2317
# SPDX-License-Identifier: GPL-2.0
#
# PHP's FastCGI server behind nginx, over TCP: as many processes as ever, or as
# many as there is work for. Both servers' sockets are spawned.

needs=("$(compgen -c php-fpm | sort | head -n 1)" nginx)
variants=(static ondemand)
path=hello.php

start()
{
	echo '<?php header("Content-Length: 6"); echo "served";' >"$home/www/hello.php"
	cat >"$home/fpm.conf" <<-END
		[global]
		error_log = $home/fpm.log
		pid = $home/fpm.pid
		daemonize = no
		process_control_timeout = 60s
		[www]
		user = www-data
		group = www-data
		listen = 127.0.0.1:9000
		pm = $variant
		pm.max_children = $WORKERS
		pm.process_idle_timeout = 10s
	END
	cat >"$home/nginx.conf" <<-END
		daemon off;
		user root;
		worker_processes $WORKERS;
		pid $home/nginx.pid;
		events { worker_connections 1024; }
		http {
			access_log off;
			keepalive_timeout 0;
			fastcgi_read_timeout 300s;
			server {
				listen $port;
				root $home/www;
				location ~ \.php\$ {
					fastcgi_pass 127.0.0.1:9000;
					fastcgi_param SCRIPT_FILENAME \$document_root\$fastcgi_script_name;
					fastcgi_param REQUEST_METHOD \$request_method;
				}
			}
		}
	END
	run=(sh -c "${needs[0]} -n -R -y $home/fpm.conf & exec nginx -e $home/error.log -c $home/nginx.conf")
}

fpm_listens() { [ -n "$(srv ss -Hltn sport = :9000)" ]; }
settled() { fpm_listens && [ -s "$home/fpm.pid" ]; }

# php-fpm executes itself again, with the socket that it has.
reload()
{

	kill -USR2 "$(cat "$home/fpm.pid")"
	sleep 2
	wait_for settled && wait_for answers
}
