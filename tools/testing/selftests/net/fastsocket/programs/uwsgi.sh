# shellcheck shell=bash disable=SC2034,SC2154,SC2317
# SPDX-License-Identifier: GPL-2.0
#
# uWSGI: Python processes, that all wait or have a lock so that one does at a
# time.

needs=(uwsgi)
variants=(herd thunder-lock)

start()
{
	cat >"$home/app.py" <<-END
		def application(environ, start_response):
		    start_response("200 OK", [("Content-Length", "7")])
		    return [b"served\n"]
	END
	run=(uwsgi --plugin python3 --http-socket "0.0.0.0:$port" --wsgi-file "$home/app.py" --master
		--processes "$WORKERS" --disable-logging --listen 100 --die-on-term --need-app)
	[ "$variant" = herd ] || run+=(--thunder-lock)
}

settled() { [ "$(children | wc -l)" -ge "$WORKERS" ]; }

# It executes itself again, with the socket that it has.
reload()
{
	old=$(children)
	kill -HUP "$main"
	wait_for renewed
}
renewed() { settled && ! children | grep -qxF "$old"; }
