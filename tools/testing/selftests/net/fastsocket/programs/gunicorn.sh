# shellcheck shell=bash disable=SC2034,SC2154,SC2317
# SPDX-License-Identifier: GPL-2.0
#
# gunicorn: Python processes, each with one request at a time or with threads.

needs=(gunicorn)
variants=(sync gthread)

start()
{
	cat >"$home/app.py" <<-END
		def app(environ, start_response):
		    start_response("200 OK", [("Content-Length", "7")])
		    return [b"served\n"]
	END
	run=(gunicorn --chdir "$home" --worker-class "$variant" --workers "$WORKERS"
		--bind "0.0.0.0:$port" --graceful-timeout 60 --timeout 300 --worker-tmp-dir /dev/shm app:app)
	[ "$variant" != gthread ] || run+=(--threads 4)
}

settled() { [ "$(children | wc -l)" -ge "$WORKERS" ]; }

reload()
{
	old=$(children)
	kill -HUP "$main"
	wait_for renewed
}
renewed()
{
	[ "$(children | grep -cvxF "$old")" -ge "$WORKERS" ] && ! children | grep -qxF "$old"
}
