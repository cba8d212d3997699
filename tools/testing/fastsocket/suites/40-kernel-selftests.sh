#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The kernel's own network tests, without the module, with each listener spawned by the library, and in a soak
# with the module loaded but not used: each must have the same result, whatever that is on this kernel.
# Some of these tests race against the clock: those that differ are run again all ways,
# twice at the most, and count as the same when each result with the module was seen without it, or
# the other way round. A test in which nothing ran says nothing: that is a failure.

. "$(dirname "$0")/../tap.sh"

# Programs to build, by directory; then what is run, in the directory where they end up together.
net=(reuseport_bpf reuseport_bpf_cpu reuseport_dualstack reuseport_addr_any
	reuseaddr_conflict reuseaddr_ports_exhausted stress_reuseport_listen
	tcp_inq bind_bhash bind_wildcard bind_timewait so_incoming_cpu so_netns_cookie
	sk_bind_sendto_listen sk_connect_zero_addr ip_local_port_range fin_ack_lat epoll_busy_poll)
mptcp=(mptcp_connect mptcp_inq mptcp_sockopt pm_nl_ctl)
scripts=(reuseport_addr_any.sh reuseaddr_ports_exhausted.sh stress_reuseport_listen.sh
	tcp_fastopen_backup_key.sh bind_bhash.sh ip_local_port_range.sh in_netns.sh net_helper.sh lib.sh)
run=(reuseport_bpf reuseport_bpf_cpu reuseport_dualstack reuseport_addr_any.sh
	reuseaddr_conflict reuseaddr_ports_exhausted.sh stress_reuseport_listen.sh
	tcp_fastopen_backup_key.sh tcp_inq bind_bhash.sh bind_wildcard bind_timewait so_incoming_cpu
	so_netns_cookie sk_bind_sendto_listen sk_connect_zero_addr ip_local_port_range.sh
	epoll_busy_poll migrate_reuseport sk_lookup tls.sh mptcp/mptcp_sockopt.sh)
# Minutes each; and epoll_wakeup_test, which has no TCP in it, races against the clock.
[ "${FASTSOCKET_SOAK:-}" != 1 ] || run+=(epoll_wakeup_test select_reuseport mptcp/connect.sh mptcp/diag.sh mptcp/pm_netlink.sh mptcp/userspace_pm.sh)

with=(spawned)
[ "${FASTSOCKET_SOAK:-}" != 1 ] || with+=(loaded)

out=$BUILD/selftests/kernel
mkdir -p "$out/mptcp"

# bpf TEST OBJECT FUNCTION: one of the kernel's tests of BPF, by bpf_test.c.
bpf() {
	local tools=$SRC/tools dir=$SRC/tools/testing/selftests/bpf
	# The programs say by bpf_trace_printk() why they failed; a kernel without probes has none.
	clang-19 --target=bpf -mcpu=v3 -g -O2 -fno-strict-aliasing '-Dbpf_trace_printk(...)=0' \
		-Wno-compare-distinct-pointer-types -I"$dir" -isystem "$BUILD/vm/usr/include" \
		-idirafter "/usr/include/$(gcc -print-multiarch)" \
		-c "$dir/progs/$2.c" -o "$out/$2.bpf.o" &&
	/usr/sbin/bpftool gen skeleton "$out/$2.bpf.o" name "$2" >"$out/$2.skel.h" &&
	gcc -g -O2 -Wall -D_GNU_SOURCE= -DPROG_TEST="\"prog_tests/$1.c\"" -DRUN="$3" \
		-I"$out" -I"$dir" -I"$dir/.." -I"$tools/include" -I"$tools/include/uapi" \
		"$TESTING/bpf_test.c" "$dir/network_helpers.c" -lbpf -o "$out/$1"
}

# program FILE COMMAND: a test that is another with arguments.
program() {
	printf '#!/bin/bash\nexec %s\n' "$2" >"$out/$1" && chmod +x "$out/$1"
}

# tls.c of 6.12.y has tests of new keys for a connection, which 6.12 has not, and calls that give one argument
# more than there is, the number of the key: it does not compile as it is.
tls() {
	local dir=$SRC/tools/testing/selftests/net
	awk '/^TEST_F\(.*rekey/ { skip = 1 }
		!skip { print }
		/^static void tls_crypto_info_init/ { helper = 1 }
		/^}/ && helper { print "#define tls_crypto_info_init(v, c, t, ...) tls_crypto_info_init(v, c, t)" }
		/^}/ { skip = helper = 0 }' "$dir/tls.c" >"$out/tls.c" &&
	gcc -O2 -g -Wall -Wno-unused-function -D_GNU_SOURCE= -I"$dir" -isystem "$BUILD/vm/usr/include" "$out/tls.c" -o "$out/tls" &&
	# One cipher of ten, and what takes minutes not at all.
	program tls.sh "./tls$(soak " $(printf -- '-T mutliproc_%s ' even readers writers \
		sendpage_even sendpage_readers sendpage_writers)-v 12_aes_gcm" '')"
}

# The test that takes longest: 16 times 10000 connections.
fastopen() {
	local dir=$SRC/tools/testing/selftests/net
	sed "s/n_loops = 10000/n_loops = $(soak 1000 10000)/" "$dir/tcp_fastopen_backup_key.c" >"$out/fastopen.c" &&
	gcc -O2 -g -Wall -D_GNU_SOURCE= -I"$dir" -isystem "$BUILD/vm/usr/include" "$out/fastopen.c" \
		-o "$out/tcp_fastopen_backup_key"
}

build() {
	selftests net OUTPUT="$out" "${net[@]/#/$out/}" &&
	tls && fastopen &&
	selftests net/mptcp OUTPUT="$out/mptcp" "${mptcp[@]/#/$out/mptcp/}" &&
	cp "$SRC"/tools/testing/selftests/net/mptcp/*.sh "$out/mptcp/" &&
	# By itself it takes its losses from chance.
	program mptcp/connect.sh "./mptcp_connect.sh -e tso -d 10 -l 0.5% -r 0 -4 -f 1048576" &&
	selftests filesystems/epoll OUTPUT="$out" "$out/epoll_wakeup_test" &&
	bpf migrate_reuseport test_migrate_reuseport serial_test_migrate_reuseport &&
	bpf select_reuseport test_select_reuseport_kern serial_test_select_reuseport &&
	bpf sk_lookup test_sk_lookup test_sk_lookup &&
	(cd "$SRC/tools/testing/selftests/net" && cp "${scripts[@]}" "$out/") &&
	mkdir -p "$out/../lib" && cp -r "$SRC/tools/testing/selftests/kselftest" "$out/../"
}
try "kernel selftests build" progress "kernel selftests" kernel-selftests.log build || exit 1

# round N PROGRAM...: run them in each state; results go to seen.plain, seen.spawned and seen.loaded.
seen=$BUILD/logs/kernel-selftests.seen
rm -f "$seen".*
round() {
	local n=$1 state name load preload status
	shift
	for state in plain "${with[@]}"; do
		load='' preload=''
		[ "$state" = plain ] || load=1
		[ "$state" != spawned ] || preload=$TOP/build/cargo/release/libfsocket.so
		start "kernel-selftests-$state-$n" -k vm -c 2 -t "$(soak 3000 9000)" -- LOAD=$load PRELOAD="$preload" \
			LIMIT="$(soak 600 2400)" \
			"$TESTING/run-selftests.sh" "$out" "$@"
	done
	for state in plain "${with[@]}"; do
		name=kernel-selftests-$state-$n
		finish "$name"
		status=$?
		# A test that fails on this kernel is no matter; a complaint or a dead guest is.
		if [ $status -ge 97 ]; then not_ok "$name: $(guest_status $status)"; else ok "$name: no complaint"; fi
		"$TESTING/flatten.awk" "$BUILD/logs/$name.out" | sed 's/selftests: //' >>"$seen.$state"
	done
}

# compare STATE: a line for each test: same or differs, the name, what was seen without and with the module.
compare() {
	awk -F'\t' '
		FNR == NR { if (!(($2, $1) in p)) P[$2] = P[$2] " " $1; p[$2, $1]; n[$2]; next }
		{ if (!(($2, $1) in l)) L[$2] = L[$2] " " $1; l[$2, $1]; n[$2] }
		END {
			for (t in n) {
				split(P[t], a, " "); split(L[t], b, " ")
				there = back = 1
				for (i in a) if (!((t, a[i]) in l)) there = 0
				for (i in b) if (!((t, b[i]) in p)) back = 0
				same = P[t] != "" && L[t] != "" && (there || back)
				print (same ? "same" : "differs") "\t" t "\t" (P[t] == "" ? " missing" : P[t]) "\t" (L[t] == "" ? " missing" : L[t])
			}
		}' "$seen.plain" "$seen.$1" | LC_ALL=C sort
}

round 1 "${run[@]}"
for t in "${run[@]}"; do
	for state in plain "${with[@]}"; do
		grep -qE "^(ok|fail)	$t( |\$)" "$seen.$state" || not_ok "$state: in $t, nothing ran"
	done
done
for n in 2 3; do
	# Subtests are named after their program.
	mapfile -t again < <(for state in "${with[@]}"; do compare "$state"; done |
		sed -n 's/^differs\t\([^ \t]*\).*/\1/p' | sort -u)
	[ ${#again[@]} = 0 ] || round $n "${again[@]}"
done
for state in "${with[@]}"; do
	while IFS=$'\t' read -r result name plain seen_with; do
		if [ "$result" = same ]; then
			ok "$state: $name ($plain )"
		else
			not_ok "$state: $name (without the module:$plain, with it:$seen_with)"
		fi
	done < <(compare "$state")
done
plan
