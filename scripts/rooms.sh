#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# rooms.sh [--check]: print which rooms of net/fastsocket use which, from the code, as
# Documentation/networking/fastsocket/developers.rst draws it. --check fails if it draws something else, if a room
# uses one that does not come after it in the list in fastsocket.rs, or if the files of a room use each other in a
# circle.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$TOP"

doc=Documentation/networking/fastsocket/developers.rst
# In the order in which they may use each other.
order=(control listen bind refs steer established placement core)

# names PARENT FILE...: what the files name below crate or super, by paths or in lists of imports.
names() {
	local parent=$1
	shift
	PARENT=$parent perl -0777 -ne '
		s{//[^\n]*}{}g;
		# Tests are inside of the file.
		s/^mod tests \{.*//ms;
		while (/\b$ENV{PARENT}::(\w+)/g) { print "$1\n" }
		while (/\b$ENV{PARENT}::\{(.*?)\n?\};/sg) {
			my ($list, $depth) = ($1, 0);
			$list =~ s/\s+//g;
			for my $part (split /([{},])/, $list) {
				$depth++ if $part eq "{";
				$depth-- if $part eq "}";
				print "$1\n" if $depth == 0 && $part =~ /^(\w+)/;
			}
		}' "$@" | sort -u
}

# uses ROOM: what its files name of other rooms.
uses() { names crate net/fastsocket/"$1"/*.rs; }

# imports ROOM: which of its files use which, a pair in each line.
imports() {
	local file used
	for file in net/fastsocket/"$1"/*.rs; do
		[[ $file != */mod.rs ]] || continue
		for used in $(names super "$file"); do
			[ ! -e "net/fastsocket/$1/$used.rs" ] || echo "$(basename "$file" .rs) $used"
		done
	done
}

graph() {
	local room used
	for room in "${order[@]}"; do
		used=$(uses "$room" | grep -xF -f <(printf '%s\n' "${order[@]}") | grep -vxF "$room" | tr '\n' ' ' || true)
		printf '   %-9s -> %s\n' "$room" "${used:-nothing}"
	done | sed 's/ *$//'
}

drawn=$(graph)
if [ "${1:-}" != --check ]; then
	echo "$drawn"
	exit
fi

out=0
for room in net/fastsocket/*/; do
	room=$(basename "$room")
	[[ " ${order[*]} " = *" $room "* ]] || { note "$room is not in the order of rooms"; out=1; }
	circle=$(imports "$room" | tsort 2>&1 >/dev/null | sed -n 's/^tsort: \([a-z_]*\)$/\1/p' | tr '\n' ' ' || true)
	[ -z "$circle" ] || { note "in $room, these use each other in a circle: $circle"; out=1; }
done
for ((i = 0; i < ${#order[@]}; i++)); do
	for ((k = 0; k < i; k++)); do
		if uses "${order[i]}" | grep -qxF "${order[k]}"; then
			note "${order[i]} uses ${order[k]}, which comes before it"
			out=1
		fi
	done
done
if ! grep -qF "$(head -n1 <<<"$drawn")" $doc || [ "$(grep -c -xF -f <(echo "$drawn") $doc)" != ${#order[@]} ]; then
	note "$doc draws something else than:"
	echo "$drawn"
	out=1
fi
exit $out
