# shellcheck shell=bash disable=SC2034,SC2154,SC2317
# SPDX-License-Identifier: GPL-2.0
#
# Node's cluster: the first process accepts and hands connections out in turn,
# or all of its workers accept.

needs=(node)
variants=(rr none)

start()
{
	# In turn, one task alone accepts.
	plain=''
	[ "$variant" != rr ] || plain=1
	cat >"$home/server.js" <<-END
		const cluster = require('cluster');
		if (cluster.isPrimary) {
			for (let i = 0; i < $WORKERS; i++)
				cluster.fork();
			cluster.on('exit', () => cluster.fork());
			// One after the other: a new one listens, then an old one leaves.
			process.on('SIGHUP', () => {
				for (const old of Object.values(cluster.workers))
					cluster.fork().once('listening', () => old.disconnect());
			});
			// Their ends are made up for above.
			cluster.on('disconnect', w => cluster.removeAllListeners('exit'));
		} else {
			require('http').createServer((req, res) => {
				res.setHeader('Connection', 'close');
				res.end('served\n');
			}).listen($port, '0.0.0.0');
		}
	END
	run=(env NODE_CLUSTER_SCHED_POLICY="$variant" node "$home/server.js")
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
