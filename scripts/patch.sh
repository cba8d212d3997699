#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# patch.sh: write Fastsocket as one series for a plain 6.12.y tree, in build/patch: first the
# changes to existing files (patches/), then the new files, one patch for each area. Checks that
# `git am` takes it on a checkout of the base, and that the result is the tree that we build.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

out=$BUILD/patch
work=$BUILD/patch-tree
rm -rf "$out"
mkdir -p "$out"

git -C "$SRC" diff --quiet HEAD || die "build/linux has changes that are not committed"

drop_tree() {
	rm -rf "$work"
	git -C "$SRC" worktree prune
}
trap drop_tree EXIT
drop_tree
# Only the top directories' files are written out: the patches are text, and git knows the rest.
git -C "$SRC" worktree add -q --detach --no-checkout "$work" HEAD

cd "$work"
unset GIT_INDEX_FILE
git read-tree HEAD

# The new files, by area, as mode 644 or 755 blobs: links are for our own build tree only.
area() {
	case $1 in
	include/* | rust/*) echo "1 $1" ;;
	net/* | kernel/*) echo "2 $1" ;;
	Documentation/*) echo "3 $1" ;;
	*) echo "4 $1" ;;
	esac
}
subject=('' 'fastsocket: add headers and Rust abstractions'
	'fastsocket: add per-core TCP sockets' 'fastsocket: add documentation' 'fastsocket: add tools, samples and tests')
body=('' 'The declarations that net core and user space share with the subsystem, and
the safe Rust abstractions that it stands on.' \
'The subsystem itself, and configuration fragments for it.' \
'Concepts, knobs, statistics and the ABI.' \
'The library that unmodified programs are run with, the commands, the demo
server and the tests.')

list=$(while read -r f; do area "$f"; done <"$SRC/.git/fastsocket/overlay")
for n in 1 2 3 4; do
	files=$(sed -n "s/^$n //p" <<<"$list")
	[ -n "$files" ] || continue
	while read -r f; do
		mode=100644
		[ ! -x "$TOP/$f" ] || mode=100755
		printf '%s %s\t%s\n' $mode "$(git hash-object -w --no-filters "$TOP/$f")" "$f"
	done <<<"$files" | git update-index --add --index-info
	git commit -q --no-verify -m "${subject[$n]}" -m "${body[$n]}"
done
want=$(git rev-parse 'HEAD^{tree}')
plain_git format-patch -q -o "$out" --zero-commit --no-signature --no-numbered --no-thread --no-base \
	--abbrev=12 --stat=72 base..HEAD

# A real checkout of the base, as somebody else has it.
git checkout -q -f --detach base
plain_git -c user.name=check -c user.email=check@localhost am -q --keep-cr "$out"/*.patch >"$BUILD/patch-am.log" 2>&1 || {
	cat "$BUILD/patch-am.log" >&2
	die "the series does not apply with git am"
}
[ "$(git rev-parse 'HEAD^{tree}')" = "$want" ] || die "git am gives another tree than the one that we build"
note "$(find "$out" -name '*.patch' | wc -l) patches in ${out#"$TOP"/}, applied to the base with git am"
