#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# rooms.sh [--check]: print which rooms of net/fastsocket use which, from the code, as
# Documentation/networking/fastsocket/developers.rst draws it. --check fails if it draws something else, or if a room
# uses one that does not come after it in the list in fastsocket.rs.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$TOP"

doc=Documentation/networking/fastsocket/developers.rst
# In the order in which they may use each other.
order=(control listen placement core)

# uses ROOM: the other rooms that its files name, by paths or in lists of imports.
uses() {
	perl -0777 -ne '
		s{//[^\n]*}{}g;
		while (/\bcrate::(\w+)/g) { print "$1\n" }
		while (/\bcrate::\{(.*?)\n?\};/sg) {
			my ($list, $depth) = ($1, 0);
			$list =~ s/\s+//g;
			for my $part (split /([{},])/, $list) {
				$depth++ if $part eq "{";
				$depth-- if $part eq "}";
				print "$1\n" if $depth == 0 && $part =~ /^(\w+)/;
			}
		}' net/fastsocket/"$1"/*.rs | sort -u
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
