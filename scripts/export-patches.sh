#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# export-patches.sh: write the commits of build/linux since the base as patches/NNNN-*.patch and
# patches/series. The same commits give the same bytes; a patch that did not change is not touched.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

[ -z "${KSRC:-}" ] || die "patches are exported from the pinned base, without KSRC"
[ -d "$SRC/.git" ] || die "$SRC is not prepared: run 'make prepare'"
exec 9>"$BUILD/.prepare.lock"
flock 9

git -C "$SRC" diff --quiet HEAD || note "build/linux has changes that are not committed: they are not exported"

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
plain_git -C "$SRC" format-patch -q -o "$new" --zero-commit --no-signature --no-numbered \
	--no-thread --no-base --no-notes --abbrev=12 --stat=72 base..HEAD
find "$new" -name '*.patch' -printf '%f\n' | LC_ALL=C sort >"$new/series"

mkdir -p "$TOP/patches"
for old in "$TOP"/patches/*.patch; do
	[ ! -e "$old" ] || [ -e "$new/${old##*/}" ] || rm -v "$old"
done
for f in "$new"/*; do
	cmp -s "$f" "$TOP/patches/${f##*/}" || install -v -m 644 "$f" "$TOP/patches/"
done

# Tell prepare.sh that the tree and the series are the same again.
git -C "$SRC" rev-parse HEAD >"$SRC/.git/fastsocket/tip"
series_sum >"$SRC/.git/fastsocket/series"
