# shellcheck shell=bash disable=SC2034,SC2154,SC2317
# SPDX-License-Identifier: GPL-2.0
#
# Puma: Ruby processes with threads, of which one accepts; a phased restart.

needs=(puma)

start()
{
	cat >"$home/app.ru" <<-END
		run ->(env) { [200, {"Content-Length" => "7"}, ["served\n"]] }
	END
	run=(env RACK_ENV=production puma --dir "$home" -w "$WORKERS" -t 2:2 -b "tcp://0.0.0.0:$port" --no-config "$home/app.ru")
}

settled() { [ "$(children | wc -l)" -ge "$WORKERS" ] && [ "$(grep -c booted "$home/log")" -ge "$WORKERS" ]; }

reload()
{
	old=$(children)
	kill -USR1 "$main"
	wait_for renewed
}
renewed() { [ "$(children | grep -cvxF "$old")" -ge "$WORKERS" ] && ! children | grep -qxF "$old"; }
