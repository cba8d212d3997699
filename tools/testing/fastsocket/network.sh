# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: GPL-2.0
#
# What `make demo` and `make bench-live` share: a network namespace for the server and one for its
# clients, with a veth between them, and how to wait for a server and ask for its statistics.
#
# Who sources it sets server_ns and client_ns (the names), server_ip and client_ip, server_cpus (an
# array: those that receive the server's packets), server (the process), patience (seconds), tw_buckets
# if there may be more connections than here in TIME_WAIT, and defines die.

in_server() { ip netns exec "$server_ns" "$@"; }
in_client() { ip netns exec "$client_ns" "$@"; }

# wait_until WHAT COMMAND...: until the command succeeds, or the server is gone.
wait_until() {
	local what=$1 begin=$SECONDS
	shift
	until "$@"; do
		kill -0 "$server" 2>/dev/null || die "the server ended before $what"
		[ $((SECONDS - begin)) -lt "$patience" ] || die "$patience s, and not yet: $what"
		sleep 0.1
	done
}

# cpu_mask CPU...: as rps_cpus takes it, in words of 32 CPUs.
cpu_mask() {
	local cpu i last=0 mask='' words=()
	for cpu; do
		i=$((cpu / 32))
		words[i]=$((${words[i]:-0} | 1 << cpu % 32))
		[ $i -le $last ] || last=$i
	done
	for ((i = last; i >= 0; i--)); do
		mask+=$(printf '%s%08x' "${mask:+,}" "${words[i]:-0}")
	done
	echo "$mask"
}

# spread_flows NAMESPACE CPU...: veth hands a packet over on the CPU that sent it. RPS moves it, as a
# network card with a queue for each CPU would: a flow's packets always to the same CPU, by their hash.
spread_flows() {
	local ns=$1 mask
	shift
	mask=$(cpu_mask "$@")
	ip netns exec "$ns" sh -c "for queue in /sys/class/net/veth0/queues/rx-*; do
		echo $mask >\$queue/rps_cpus || exit 1
	done" || die "no RPS: is CONFIG_RPS set?"
}

# Network namespaces of its own for each run: nothing is left of an earlier one, no connection in
# TIME_WAIT and no count, since the statistics are per namespace.
network_up() {
	ip netns add "$server_ns"
	ip netns add "$client_ns"
	ip link add veth0 netns "$server_ns" type veth peer name veth0 netns "$client_ns"
	ip -n "$server_ns" addr add "$server_ip/24" dev veth0
	ip -n "$client_ns" addr add "$client_ip/24" dev veth0
	ip -n "$server_ns" link set veth0 up
	ip -n "$client_ns" link set veth0 up
	spread_flows "$server_ns" "${server_cpus[@]}"
	# The hash is the sending socket's own, which takes another one when it repeats a packet: the
	# flow would go to another CPU.
	in_client sysctl -qw net.core.txrehash=0
	# Room for all of a run's connections in TIME_WAIT: a small guest has 8,192. Those without are
	# closed at once, and a client that sends one more ACK gets a RST, which ab calls a failed request.
	in_server sysctl -qw net.ipv4.tcp_max_tw_buckets="${tw_buckets:-262144}"
	# A port for each connection of a run.
	in_client sysctl -qw net.ipv4.ip_local_port_range='1024 65535'
}

network_down() {
	ip netns del "$server_ns"
	ip netns del "$client_ns"
}

# stat FILE COLUMN ROW: a counter of the server's namespace.
stat() {
	# shellcheck disable=SC2016
	in_server awk -v name="$2" -v row="$3" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i }
		$1 == row { print $c }' "/proc/net/$1"
}
# listening [N]: there are N listening sockets, 1 if not given.
listening() { [ "$(in_server ss -Hltn sport = :80 | wc -l)" -ge "${1:-1}" ]; }
# A worker has its slot from when it first waits for connections.
has_slots() { [ "$(stat fsocket_stats slots total)" -ge "${#server_cpus[@]}" ]; }

# ab_sum FILE...: of ab's reports together: the requests that were completed, those that failed in
# whatever way ab calls that, and the longest time that one took. Lines that would say 0 may be missing.
ab_sum() {
	awk -F ': *' '$1 == "Complete requests" { complete += $2 }
		$1 ~ /^(Failed requests|Write errors|Non-2xx responses)$/ { failed += $2 }
		$1 == "Time taken for tests" && $2 + 0 > longest { longest = $2 + 0 }
		END { print complete + 0, failed + 0, longest + 0 }' "$@"
}
