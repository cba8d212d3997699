# shellcheck shell=bash disable=SC2034,SC2154,SC2317
# SPDX-License-Identifier: GPL-2.0
#
# vsftpd: it forks for each session, and listens at another port for each
# passive transfer. Its seccomp filter kills Debian 12's own C library at the
# first open() of a file: there is no transfer with it, so that all that is
# asked for is a port.

needs=(vsftpd)
variants=(transfer sandbox)
plain=1
share=12

start()
{
	local sandbox=NO

	[ "$variant" = transfer ] || sandbox=YES
	mkdir -p /var/run/vsftpd/empty "$home/ftp"
	cp "$dir/64" "$home/ftp/"
	cat >"$home/vsftpd.conf" <<-END
		listen=YES
		listen_ipv6=NO
		listen_port=$port
		background=NO
		anonymous_enable=YES
		anon_root=$home/ftp
		seccomp_sandbox=$sandbox
		max_clients=0
		max_per_ip=0
		secure_chroot_dir=/var/run/vsftpd/empty
	END
	run=(vsftpd "$home/vsftpd.conf")
}

# Log in, ask for a port, and have a file by it. In the sandbox the session goes
# on instead.
one() (
	exec 3<>"/dev/tcp/$addr/$port" || return
	while read -r -t 60 answer <&3; do
		case $answer in
		220*) line="USER anonymous" ;;
		331*) line="PASS test" ;;
		230*) line=PASV ;;
		227*)
			answer=${answer##*(} answer=${answer%%)*}
			IFS=, read -r -a number <<<"$answer"
			line=NOOP
			if [ "$variant" = transfer ]; then
				exec 4<>"/dev/tcp/$addr/$((number[4] * 256 + number[5]))" || return
				line="RETR 64"
			fi
			;;
		150*)
			read -r -t 60 -N 64 file <&4 || return
			exec 4<&-
			continue
			;;
		226*) [ "$file" = "$(<"$dir/64")" ]; return ;;
		200*) return 0 ;;
		*) break ;;
		esac
		printf '%s\r\n' "$line" >&3
	done
	echo "$line: $answer" >&2
	return 1
)
