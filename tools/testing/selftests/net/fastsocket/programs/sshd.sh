# shellcheck shell=bash disable=SC2034,SC2154,SC2317
# SPDX-License-Identifier: GPL-2.0
#
# sshd: one process accepts and executes itself again for each session. A
# session is as free as on plain sockets, and a port that it listens at for its
# client serves.

sshd=$(PATH=$PATH:/usr/sbin command -v sshd)
needs=("$sshd" ssh ssh-keygen socat)
plain=1
share=100 CLIENTS=3

start()
{
	[ -e "$dir/key" ] || ssh-keygen -q -t ed25519 -N '' -f "$dir/key"
	mkdir -p /run/sshd
	cp "$dir/key.pub" "$home/authorized_keys"
	chmod 755 "$home"
	# With that level the shell does not read root's own files, which may do anything.
	cat >"$home/config" <<-END
		Port $port
		ListenAddress 0.0.0.0
		HostKey $dir/key
		PidFile none
		AuthorizedKeysFile $home/authorized_keys
		PermitRootLogin yes
		StrictModes no
		UsePAM yes
		SetEnv SHLVL=2
		MaxStartups 1000
		LogLevel VERBOSE
	END
	# Its own name is to be an absolute one.
	run=("$sshd" -D -e -f "$home/config")
}

log_in()
{
	cli ssh -i "$dir/key" -p "$port" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
		-o KexAlgorithms=curve25519-sha256 -o LogLevel=ERROR -o BatchMode=yes "root@$addr" "$@"
}
one() { [ "$(log_in echo served)" = served ]; }

inside() { log_in "$1"; }

# A port that the session listens at, and the client serves.
parts()
{
	ip netns exec "$NS-client" socat TCP-LISTEN:9002,reuseaddr,fork SYSTEM:'echo forwarded' &
	wait_for serves
	log_in -R 9001:127.0.0.1:9002 socat -u TCP:127.0.0.1:9001 -
	kill $!
	wait $! 2>/dev/null
}
serves() { [ -n "$(cli ss -Hltn sport = :9002)" ]; }
