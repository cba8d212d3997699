#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# objsize.sh: what the patches change in the object code of a kernel that has the hooks. Prints a table,
# in reStructuredText, of the functions whose instructions differ between build/vm and a kernel that is
# built of the same source without the patches, with the same configuration but for Rust; then the size
# of what was added, and of the structures that grew.
#
# Only the objects that the patches touch are built a second time, by stock.sh.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
export LC_ALL=C

new=$BUILD/vm
stock=$BUILD/stock

# The objects of the C files that a patch changes, and of those that use a changed inline function.
objects() {
	{
		git -C "$SRC" diff --name-only base HEAD -- 'net/*.c' 'kernel/*.c' 'fs/*.c' 'security/*.c'
		git -C "$SRC" grep -lE '\<(tcp_synq_overflow|cookie_init_sequence|tcp_listendrop|reqsk_put|reqsk_free|inet_csk_listen_poll|inet_csk_reqsk_queue_(added|removed|len|young|is_full))\(' base -- 'net/*.c' | sed 's/^base://'
	} | sed 's/c$/o/' | sort -u | while read -r o; do [ ! -e "$new/$o" ] || echo "$o"; done
}

# A line for each function of an object: name, size, number of static branches on our key, and its
# instructions. Of those, branch targets, immediates and displacements are left out: functions move, and
# structures grow, at no cost. So is padding. Symbols that an instruction refers to count.
functions() {
	{
		llvm-readobj-19 --relocations "$1" | awk '
			/Section .*__jump_table/ { on = 1; next } /^  }/ { on = 0 }
			on { n++ }
			on && n % 3 == 1 { at = $3 " " tolower(substr($4, 3)) }
			on && n % 3 == 0 && $3 ~ /^fastsocket_[a-z]+_enabled$/ { print "BRANCH", at }'
		llvm-nm-19 --print-size --radix=d --defined-only "$1" | awk 'NF == 4 && $3 ~ /[tT]/ { print "SIZE", $4, $2 + 0 }'
		llvm-objdump-19 -d -r --no-show-raw-insn "$1"
	} | awk '
		function flush() { if (f in size) print f, size[f], branches, text }
		$1 == "BRANCH" { branch[$2 " " $3 ":"] = 1; next }
		$1 == "SIZE" { size[$2] = $3; next }
		/^Disassembly of section/ { section = $4; sub(/:$/, "", section); next }
		/^[0-9a-f]+ <.*>:$/ { flush(); f = $2; gsub(/[<>:]/, "", f); text = ";"; branches = 0; next }
		/R_X86_64/ { if ($3 !~ /^[.]/) { sub(/[+-]0x.*/, "", $3); text = text "@" $3 ";" } next }
		$1 ~ /^[0-9a-f]+:$/ {
			if ((section " " $1) in branch) { branches++; text = text "BRANCH;"; next }
			if ($2 ~ /^(nop|int3|xchgw$)/ || ($2 == "data16" && $0 ~ /nop/)) next
			sub(/^ *[0-9a-f]+:[ \t]*/, ""); sub(/[ \t]*#.*/, ""); gsub(/<[^>]*>/, "")
			gsub(/-?0x[0-9a-f]+/, "N"); gsub(/N\(/, "("); gsub(/[ \t]+/, ",")
			text = text $0 ";"
		}
		END { flush() }' | sort
}

line() { printf '%-36s  %7s  %7s  %+6d  %8s\n' "$@"; }
rule() { printf '%s  %s  %s  %s  %s\n' ==================================== ======= ======= ====== ========; }

# A row for each function of an object that differs.
compare() {
	local same=0 name s1 t1 s2 b2 t2
	printf '%s\n' "*$1*"
	while read -r name s1 t1 s2 b2 t2; do
		if [ "$t1" = "$t2" ] && [ "$s1" = "$s2" ]; then
			same=$((same + 1))
			continue
		fi
		line "\`\`$name\`\`" "${s1/#-/0}" "${s2/#-/0}" $((${s2/#-/0} - ${s1/#-/0})) "${b2/#-/0}"
	done < <(join -a 1 -a 2 -e - -o 0,1.2,1.4,2.2,2.3,2.4 \
		<(functions "$stock/$1") <(functions "$new/$1"))
	echo "$same others: the same"
}

# Sizes of structures, and where the groups of fields begin that belong together on cache lines, by the
# command that compiled an object of that tree.
structures() {
	local cmd s dir=$1 out=$1/.sizes
	{
		printf '#include <%s>\n' linux/tcp.h net/tcp.h net/request_sock.h
		for s in request_sock_queue inet_connection_sock tcp_sock tcp6_sock; do
			echo "char ours_${s}[sizeof(struct $s)];"
		done
		for s in read_tx read_txrx read_rx write_tx write_txrx write_rx; do
			echo "char ours_group_${s}[offsetof(struct tcp_sock, __cacheline_group_begin__tcp_sock_$s)];"
		done
	} >"$out.c"
	cmd=$(sed -n '1s/^savedcmd_[^ ]* := //p' "$dir/net/ipv4/.tcp_ipv4.o.cmd" | sed 's/ *;.*//; s/ -Wp,-MMD,[^ ]*//')
	cmd=${cmd/ -c -o */ -c -o $out.o $out.c}
	(cd "$dir" && env CCACHE_DISABLE=1 PATH="/usr/bin:$PATH" sh -c "$cmd")
	llvm-nm-19 --print-size --radix=d "$out.o" |
		awk 'sub(/^ours_/, "", $4) { print $4, $2 + 0 }' | sort
}

mapfile -t objects < <(objects)
for o in "${objects[@]}"; do
	[ -e "$new/$o" ] || die "there is no build/vm/$o: run 'make vm'"
done
"$TOP/scripts/stock.sh" "${objects[@]}"

rule
printf '%-36s  %7s  %7s  %6s  %8s\n' function stock patched diff branches
rule
for o in "${objects[@]}"; do compare "$o"; done
rule
echo
echo "Added, built in (net/fastsocket, llvm-size-19):"
echo
# What is in rooms is C.
llvm-size-19 "$new"/net/fastsocket/*/*.o | sed "s,$new/,,; s/^/  /"
echo
echo "Structures: bytes, stock and patched; for the groups of struct tcp_sock, where they begin:"
echo
join <(structures "$stock") <(structures "$new") | awk '{ printf "  %-22s %5d %5d\n", $1, $2, $3 }'
