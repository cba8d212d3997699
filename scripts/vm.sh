#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# vm.sh [options] [--] [COMMAND]: boot a guest on the host's file system, and run COMMAND in it as
# root, by bash, in the clone's directory. Without COMMAND: an interactive shell.
#
#   -k KIND    kernel in build/KIND: vm (default) or debug; or a directory with a built kernel
#   -c CPUS    number of CPUs, 4 if not given
#   -m MEM     memory, 2G if not given
#   -a ARG     one more kernel argument; may be repeated
#   -l LOG     where the kernel's console goes, build/logs/console-*.log if not given
#   -t SECS    the longest that the command may take, 1800 if not given
#   -w DIR     a directory that the guest may write to; everything else is thrown away
#   -n         no look for splats in the console's log
#
# Ends with the command's exit status; 97 if the kernel complained, whatever the command said; 98 if
# the guest died under the command or took too long; 99 if it could not be booted. A boot that does
# not reach the command is tried three times, a command once.
#
# CPUs are emulated. FASTSOCKET_KVM=1 uses /dev/kvm, on a machine where that works.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

kind=vm cpus=4 mem=2G append=() log='' limit=1800 vngargs=() check=1
while getopts k:c:m:a:l:t:w:n opt; do
	case $opt in
	k) kind=$OPTARG ;;
	c) cpus=$OPTARG ;;
	m) mem=$OPTARG ;;
	a) append+=(-a "$OPTARG") ;;
	l) log=$OPTARG ;;
	t) limit=$OPTARG ;;
	w) mkdir -p "$OPTARG"; vngargs+=("--rwdir=$(realpath "$OPTARG")") ;;
	n) check='' ;;
	*) sed -n '4,/^$/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
boot_limit=${FASTSOCKET_BOOT_TIMEOUT:-600}

case $kind in */*) dir=$(realpath "$kind") ;; *) dir=$BUILD/$kind ;; esac
image=$dir/arch/x86/boot/bzImage
[ -r "$image" ] || die "there is no kernel in $dir: run 'make vm' or 'make debug'"
# vng calls its siblings by name; qemu and busybox come from the distribution.
export PATH=$CACHE/tools/venv/bin:/usr/bin:/bin:/usr/sbin:/sbin:$PATH
[ -x "$CACHE/tools/venv/bin/vng" ] || die "virtme-ng is not installed: run 'make setup'"

vngargs+=(--qemu "$TOP/scripts/guest-qemu.sh" --force-9p -r "$image" -m "$mem" --cpus "$cpus")
if [ "${FASTSOCKET_KVM:-}" != 1 ]; then
	# Calibrations against an emulated clock take long and go wrong; so does the look whether the timer
	# ticks, on a busy machine: the guest panics then.
	vngargs+=(--disable-kvm)
	append+=(-a lpj=8000000 -a tsc=reliable -a no_timer_check)
	# One thread for all CPUs, where one for each is not safe.
	[ "$cpus" = 1 ] || qemu_runs_cpus_at_once || vngargs+=(--qemu-opts="-accel tcg,thread=single")
fi

if [ $# = 0 ]; then
	[ -t 0 ] || die "an interactive guest needs a terminal; give a command"
	cd "$TOP"
	exec vng "${vngargs[@]}" "${append[@]}"
fi

mkdir -p "$BUILD/logs"
[ -n "$log" ] || log=$(mktemp "$BUILD/logs/console-$(date +%H%M%S)-XXXX.log")
log=$(realpath "$log")

# The command goes by a file, since the kernel's command line is short. The marks go to the kernel's
# log: whatever happens to the guest's output, they say how far it came.
cmd=$(mktemp "$BUILD/logs/command.XXXXXX")
# What runs in the background does not see a Ctrl-C: the guest would run on by itself.
pid=''
trap 'rm -f "$cmd"; [ -z "$pid" ] || kill $pid' EXIT
cat >"$cmd" <<END
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=/tmp
ulimit -n 65536
# virtme-ng takes the console if the host is late to name its channels, and stays when the command ends.
if [ -t 1 ]; then
	echo '<1>fastsocket-guest: has no channel for its output' >/dev/kmsg
	exit 1
fi
cd $(printf %q "$TOP")
echo '<1>fastsocket-guest: start' >/dev/kmsg
bash -c $(printf %q "$*")
status=\$?
echo "<1>fastsocket-guest: exit \$status" >/dev/kmsg
exit \$status
END

mark() { sed -n "s/.*fastsocket-guest: $1//p" "$log" 2>/dev/null | tr -d '\r' | tail -1; }
started() { grep -qs 'fastsocket-guest: start' "$log"; }
mute() { grep -qs 'fastsocket-guest: has no channel' "$log"; }

boot() {
	local begin=$SECONDS
	: >"$log"
	# The guest's output must be a pipe, and its input must be open. vng throws the kernel's console
	# away where there is a command; -set turns it to the log.
	timeout -k 10 $((limit + boot_limit)) vng "${vngargs[@]}" \
		--qemu-opts="-set chardev.console.path=$log" \
		-a loglevel=7 -a printk.devkmsg=on "${append[@]}" -- "bash $cmd" </dev/null > >(exec cat) 2>&1 &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		if mute; then
			note "the guest has no channel for its output"
			kill $pid
			break
		elif ! started && [ $((SECONDS - begin)) -gt "$boot_limit" ]; then
			note "the guest did not boot within $boot_limit s"
			kill $pid
			break
		fi
		sleep 0.3
	done
	wait $pid || true
	pid=''
}

# QEMU itself may fail an assertion while a guest with several CPUs sets up its devices.
for try in 1 2 3; do
	boot
	! started || break
	if [ $try = 3 ]; then
		tail -30 "$log" >&2
		note "the guest does not boot"
		exit 99
	fi
	note "the guest did not reach the command ($log): booting it once more"
	cp "$log" "$log.$try"
done

status=$(mark 'exit ')
splat=0
[ -z "$check" ] || "$TOP/scripts/splat.sh" "$log" || splat=1
if [ -z "$status" ]; then
	note "the guest died under the command, or took longer than $limit s: see $log"
	tail -40 "$log" >&2
	exit 98
fi
[ $splat = 0 ] || status=97
exit "$status"
