#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# splat.sh LOG...: print every complaint of a kernel in console logs; end 1 if there is one.
# splat.sh --self-test: feed it samples of what it must and must not find.

set -euo pipefail

# What the kernel prints when one of its checks fails. Kernel timestamps come before most of them,
# so nothing is anchored, and case counts: "warning: `prog' uses ..." is not a splat.
PATTERN='WARNING:|BUG:|Oops|KASAN:|KCSAN:|UBSAN:|possible recursive locking|possible circular locking'
PATTERN+='|possible irq lock inversion|inconsistent lock state|suspicious RCU usage|bad unlock balance'
PATTERN+='|INFO: task .* blocked|INFO: rcu.* stall|rcu: INFO:|self-detected stall|unreferenced object'
PATTERN+='|new suspected memory leaks|[Kk]ernel panic|refcount_t|Call Trace|general protection fault'
PATTERN+='|sleeping function called|scheduling while atomic|ODEBUG:|watchdog: BUG|rust_kernel: panicked'
PATTERN+='|kernel BUG at|unregister_netdevice: waiting|leaked reference|list_(add|del) corruption|hung_task'
PATTERN+='|invoked oom-killer'

NOT_KERNEL='# Subtest|^ *(not )?ok |# .*: (pass|fail|skip)|virtme-ng-init: '

self_test() {
	local line bad=0
	while read -r line; do
		if ! grep -Eq -- "$PATTERN" <<<"$line"; then
			echo "splat.sh: does not find: $line"
			bad=1
		fi
	done <<'END'
[    1.0] WARNING: CPU: 1 PID: 77 at net/core/dev.c:1 foo+0x1/0x2
[    1.0] BUG: kernel NULL pointer dereference, address: 0000000000000000
[    1.0] Oops: general protection fault, probably for non-canonical address: 0000 [#1] SMP
[    1.0] BUG: KASAN: slab-use-after-free in foo+0x1/0x2
[    1.0] WARNING: possible recursive locking detected
[    1.0] WARNING: suspicious RCU usage
[    1.0] INFO: task kworker/0:1:10 blocked for more than 240 seconds.
[    1.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
unreferenced object 0xffff888003a0e000 (size 1024):
[    1.0] kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)
[    1.0] Kernel panic - not syncing: Fatal exception in interrupt
[    1.0] refcount_t: underflow; use-after-free.
[    1.0] UBSAN: array-index-out-of-bounds in net/core/dev.c:1:2
[    1.0] Call Trace:
[    1.0] BUG: sleeping function called from invalid context at mm/slab.h:1
[    1.0] ODEBUG: free active (active state 0) object: 00 object type: timer_list
[    1.0] rust_kernel: panicked at net/fastsocket/listen.rs:1:1:
[    1.0] unregister_netdevice: waiting for veth0 to become free. Usage count = 2
[    1.0] ref_tracker: net notrefcnt@0 has 1/1 users; leaked reference.
[    1.0] list_del corruption, ffff888003a0e000->next is LIST_POISON1
END
	while read -r line; do
		if grep -Ev "$NOT_KERNEL" <<<"$line" | grep -Eq -- "$PATTERN"; then
			echo "splat.sh: takes for a splat: $line"
			bad=1
		fi
	done <<'END'
[    0.1] Kernel command line: root=/dev/root panic=-1 oops=panic
[    0.1] rcu: Hierarchical RCU implementation.
[    0.1] rcu: 	RCU lockdep checking is enabled.
[    0.1] Spectre V2 : Mitigation: Retpolines
[    0.1] kasan: KernelAddressSanitizer initialized (generic)
[    0.1] kmemleak: Kernel memory leak detector initialized (mem pool available: 15735)
[    0.1] warning: `ls' uses 32-bit capabilities (legacy support in use)
[    0.1] fastsocket: enable_listen_spawn=7 is out of range (0..=2)
[    4.1] virtme-ng-init: WARNING: failed to run: "systemd-tmpfiles" --create --boot
[    0.1] Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar
END
	[ $bad = 0 ] && echo "splat.sh: self-test passed"
	return $bad
}

if [ "${1:-}" = --self-test ]; then
	self_test
	exit
fi
[ $# -gt 0 ] || { echo "usage: splat.sh LOG... | --self-test" >&2; exit 2; }

found=0
for log in "$@"; do
	# The first lines after a complaint say what it is about. KUnit's own subtest names may hold such words, and what a
	# program has to say is none: virtme-ng's init does, on a system without systemd.
	if grep -Ev "$NOT_KERNEL" "$log" | grep -Ea -A 25 -m 20 -- "$PATTERN"; then
		echo "splat.sh: the kernel complained, see $log"
		found=1
	fi
done
exit $found
