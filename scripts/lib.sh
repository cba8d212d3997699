# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: GPL-2.0
#
# What every script here shares. Source it first: it sets TOP (the clone), BUILD, SRC (the prepared
# kernel tree) and CACHE, and gives die, note and progress.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

note() { printf '%s\n' "fastsocket: $*" >&2; }
die() { note "$*"; exit 1; }

# is_6_12 DIR: whether it is a kernel tree of that version.
is_6_12() { [ "$(sed -n 's/^\(VERSION\|PATCHLEVEL\) = //p' "$1/Makefile" 2>/dev/null | paste -sd.)" = 6.12 ]; }

# Another source tree gets a build directory of its own, so that it never mixes with the pinned one.
if [ -n "${KSRC:-}" ]; then
	[ -e "$KSRC" ] || die "KSRC=$KSRC does not exist"
	[ -d "$KSRC" ] || die "KSRC=$KSRC is no directory: unpack it first"
	is_6_12 "$KSRC" || die "KSRC=$KSRC is not the source of a 6.12.y kernel: its Makefile does not say so"
	KSRC=$(cd "$KSRC" && pwd -P) || exit 1
	BUILD=$TOP/build/ksrc-$(printf %s "$KSRC" | sha256sum | cut -c1-8)
else
	BUILD=$TOP/build
fi
SRC=$BUILD/linux
CACHE=${FASTSOCKET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fastsocket}

# free_mb FILE: what is free where it is, or nothing on a file system that does not say.
free_mb() { df -P -BMB "$1" | awk 'NR == 2 && int($2) { print int($4) }'; }

# need_space DIR GB WHAT: refuse to begin what would fill the disk of DIR, or of what DIR will be made in.
need_space() {
	local dir=$1 free
	while [ ! -d "$dir" ]; do dir=$(dirname "$dir"); done
	free=$(free_mb "$dir")
	[ -z "$free" ] || [ "$free" -ge $(($2 * 1000)) ] || die "$3 needs $2 GB in $1, and $free MB are free there"
}

# say_progress TEXT, end_progress: on a terminal it is one line that changes.
say_progress() { if [ -t 2 ]; then printf '\r\033[Kfastsocket: %s' "$1" >&2; else note "$1"; fi; }
end_progress() { [ ! -t 2 ] || printf '\r\033[K' >&2; }

# follow WHAT LOG: keep standard input in LOG, and say every few seconds how long it has taken so far, how
# many of the kernel's build steps there were, of about so many where STEPS says that, and what came last,
# whether that is new or not.
follow() {
	local what=$1 every=5 begin=$SECONDS said=$SECONDS steps=0 part line='' last='' status text full=''
	[ ! -t 2 ] || every=1
	while :; do
		status=0
		IFS= read -r -t 1 part || status=$?
		line+=$part
		if [ $status = 0 ]; then
			printf '%s\n' "$line" 2>/dev/null || full=1
			[[ ! $line =~ ^\ \ [A-Z]+\  ]] || steps=$((steps + 1))
			last=$line line=''
		elif [ $status -le 128 ]; then
			printf '%s' "$line" 2>/dev/null || full=1
			break
		fi
		[ $((SECONDS - said)) -ge $every ] || continue
		said=$SECONDS
		text="$what: $((said - begin)) s"
		[ $steps = 0 ] || text+=", $steps${STEPS:+ of about $STEPS} steps"
		[ -z "$line$last" ] || text+=": $(sed -E 's/[[:space:]]+/ /g; s/^ //; s/ $//; s/(.{60}).*/\1/' <<<"${line:-$last}")"
		say_progress "$text"
	done >"$2"
	end_progress
	[ -z "$full" ] || note "$2 is not complete: $(free_mb "$2") MB are free there"
}

# progress WHAT LOG COMMAND...: run a command that takes long, with what it prints in build/logs/LOG. Of
# that, warnings are shown at its end; if it fails, the last lines. Ends with the command's status.
progress() {
	local what=$1 log=$BUILD/logs/$2 status
	shift 2
	mkdir -p "$BUILD/logs"
	# It may be root's, of a setup in this user's clone.
	rm -f "$log"
	# With pipefail or without.
	"$@" 2>&1 </dev/null | follow "$what" "$log" && status=${PIPESTATUS[0]} || status=${PIPESTATUS[0]}
	if [ "$status" = 0 ]; then
		grep -E '(^|[: ])(warning|WARNING)(:|\[)' "$log" >&2 || true
		return 0
	fi
	tail -n 40 "$log" >&2
	note "$what failed: all that it printed is in ${log#"$TOP"/}"
	return "$status"
}

# read_base KEY: one value of the file BASE.
read_base() { sed -n "s/^$1=//p" "$TOP/BASE"; }

# Git as it is everywhere, whatever the user's own configuration says about diffs and dates.
plain_git() { GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null git "$@"; }

# The patch names of the series in order, and a checksum of names and contents.
series() { [ ! -e "$TOP/patches/series" ] || grep -Ev '^[[:space:]]*(#|$)' "$TOP/patches/series" || true; }
series_sum() {
	local p
	while read -r p; do
		echo "$p"
		cat "$TOP/patches/$p"
	done < <(series) | sha256sum | cut -d' ' -f1
}

# qemu_at_least MAJOR MINOR: whether QEMU is there, in that version or a later one.
qemu_at_least() {
	local major minor
	IFS=. read -r major minor _ < <(/usr/bin/qemu-system-x86_64 --version 2>/dev/null |
		sed -n 's/.* version \([0-9.]*\).*/\1/p')
	[ "${major:-0}" -gt "$1" ] || { [ "${major:-0}" = "$1" ] && [ "${minor:-0}" -ge "$2" ]; }
}

# Can QEMU emulate several CPUs at once? Before 8.1, one could execute an instruction that another had
# patched already: a static branch that was switched then ended in "Oops: int3" now and then.
qemu_runs_cpus_at_once() { qemu_at_least 8 1; }

# Can the coherence plugin be used? It needs what 10.0 gives to plugins.
qemu_counts() { qemu_at_least 10 0; }
