#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# prepare.sh: make build/linux the kernel tree that we build, and keep it so. Cheap to repeat.
#
# prepare.sh --may-remove: end 1 if the tree holds work that is not exported.
#
# 1. Unpack the source that BASE names, as a git repository with one commit, tag `base`.
#    KSRC=/path/to/linux-6.12.y takes a copy of that tree instead.
# 2. Apply patches/series on branch `fastsocket`. When patches/ changed, only files whose content
#    changes are written, so that kbuild stays incremental. Commits that were made in the tree and
#    not exported are never discarded.
# 3. Link every overlay file of this repository in at its path; drop links of removed files.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

OVERLAY_DIRS=(net/fastsocket include rust kernel/configs Documentation tools samples)

mkdir -p "$BUILD" "$CACHE"
exec 9>"$BUILD/.prepare.lock"
flock 9

if [ "${1:-}" = --may-remove ]; then
	[ -e "$SRC/.git/fastsocket/tip" ] || exit 0
	git -C "$SRC" diff --quiet HEAD || die "build/linux has changes that are not committed"
	[ "$(git -C "$SRC" rev-parse HEAD)" = "$(cat "$SRC/.git/fastsocket/tip")" ] ||
		die "build/linux has commits that are not exported"
	exit 0
fi

# --- 1. the base ---------------------------------------------------------------------------------

in_lists() { apt-cache madison "$pkg" | grep -F " $ver " >/dev/null; }

# Print the path of the pinned tarball: where the package puts it, or the cache, or the archive.
find_tarball() {
	local pkg ver name sum f deb tmp lists wanted
	pkg=$(read_base package) ver=$(read_base version)
	name=$(read_base tarball) sum=$(read_base sha256)

	for f in "/usr/src/$name" "$CACHE/$sum/$name"; do
		[ -r "$f" ] || continue
		if echo "$sum  $f" | sha256sum --check --status; then
			echo "$f"
			return
		fi
	done

	command -v apt-get >/dev/null ||
		die "no $name (sha256 $sum) here; unpack a 6.12.y kernel yourself and set KSRC=/path/to/it"
	# That it is gone can be said if the archive was asked just now. Only root can do that.
	lists="apt's lists have no"
	if ! in_lists && [ "$(id -u)" = 0 ] &&
		progress "apt-get update" apt-update.log apt-get -q -o APT::Update::Error-Mode=any update; then
		lists="the archive no longer has"
	fi
	[ -n "$(apt-cache madison "$pkg")" ] ||
		die "apt knows no $pkg: run 'make setup' as root, or set KSRC=/path/to/linux-6.12.y"
	wanted=$pkg=$ver
	if ! in_lists; then
		note "$lists $pkg $ver, which the patches were made on: taking the newest"
		wanted=$pkg sum=
	fi
	tmp=$(mktemp -d "$CACHE/download.XXXXXX")
	note "downloading $wanted"
	if ! (cd "$tmp" && progress "$pkg" download.log apt-get -q download "$wanted"); then
		rm -rf "$tmp"
		die "cannot download $wanted: if apt's lists are old, run 'apt-get update' as root"
	fi
	deb=("$tmp"/*.deb)
	dpkg-deb --fsys-tarfile "${deb[0]}" | tar -xO "./usr/src/$name" >"$tmp/$name"
	[ -z "$sum" ] || echo "$sum  $tmp/$name" | sha256sum --check --status ||
		die "$name of $pkg $ver has not the checksum that BASE names"
	sum=$(sha256sum "$tmp/$name" | cut -d' ' -f1)
	mkdir -p "$CACHE/$sum"
	mv "$tmp/$name" "$CACHE/$sum/"
	rm -rf "$tmp"
	echo "$CACHE/$sum/$name"
}

# What the tree in build/linux was unpacked from, to notice that BASE has moved on.
base_id() { if [ -n "${KSRC:-}" ]; then echo "$KSRC"; else read_base version; fi; }

unpack() {
	local new=$SRC.new tarball
	rm -rf "$new"
	need_space "$BUILD" 3 "the kernel's source, with git's copy of it,"
	mkdir -p "$new"
	if [ -n "${KSRC:-}" ]; then
		note "copying $KSRC"
		if [ -e "$KSRC/.git" ]; then
			git -C "$KSRC" archive HEAD | tar -x -C "$new"
		else
			tar -c -C "$KSRC" --exclude-vcs . | tar -x -C "$new"
		fi
	else
		tarball=$(find_tarball)
		note "unpacking $tarball"
		progress unpacking unpack.log tar -x -C "$new" --strip-components=1 -f "$tarball"
	fi
	is_6_12 "$new" || die "the source is not a 6.12.y kernel"

	git -C "$new" init -q -b fastsocket
	git -C "$new" config gc.auto 0
	git -C "$new" config core.preloadindex true
	git -C "$new" config advice.detachedHead false
	if ! git -C "$new" config user.email >/dev/null; then
		git -C "$new" config user.name "$(git -C "$TOP" config user.name || echo Fastsocket)"
		git -C "$new" config user.email "$(git -C "$TOP" config user.email || echo fastsocket@localhost)"
	fi
	# A low threshold makes git stream all files into one pack: minutes quicker than loose objects.
	progress "committing the base" unpack.log git -C "$new" -c core.bigFileThreshold=1 -c core.compression=1 add -A -f
	fixed_committer git -C "$new" commit -q -m "Linux $(make -s --no-print-directory -C "$new" kernelversion), the base"
	git -C "$new" tag base
	mkdir -p "$new/.git/fastsocket"
	base_id >"$new/.git/fastsocket/base"
	mv "$new" "$SRC"
}

# The same input gives the same commit, on every machine.
fixed_committer() {
	GIT_AUTHOR_NAME=${GIT_AUTHOR_NAME:-Fastsocket} \
	GIT_AUTHOR_EMAIL=${GIT_AUTHOR_EMAIL:-fastsocket@localhost} \
	GIT_AUTHOR_DATE=${GIT_AUTHOR_DATE:-2024-11-17T00:00:00Z} \
	GIT_COMMITTER_NAME=Fastsocket GIT_COMMITTER_EMAIL=fastsocket@localhost \
	GIT_COMMITTER_DATE=2024-11-17T00:00:00Z "$@"
}

if [ ! -e "$SRC/.git/fastsocket/base" ]; then
	[ ! -e "$SRC" ] || die "$SRC exists, and is not a tree that this script prepared: remove it"
	unpack
elif [ "$(cat "$SRC/.git/fastsocket/base")" != "$(base_id)" ]; then
	die "BASE changed since $SRC was unpacked: export what you want to keep, then run 'make distclean'"
fi
cd "$SRC"
state=$SRC/.git/fastsocket

# --- 2. the series -------------------------------------------------------------------------------

# Apply the series beside the work tree, with the steps of git am; print the resulting commit.
apply_series() {
	local tmp parent tree p field=()
	tmp=$(mktemp -d)
	export GIT_INDEX_FILE=$tmp/index
	git read-tree base
	parent=$(git rev-parse 'base^{commit}')
	while read -r p; do
		git mailinfo "$tmp/msg" "$tmp/diff" <"$TOP/patches/$p" >"$tmp/info"
		git apply --cached --whitespace=nowarn "$tmp/diff" || die "patches/$p does not apply to the base"
		tree=$(git write-tree)
		mapfile -t field < <(sed -n 's/^\(Author\|Email\|Subject\|Date\): //p' "$tmp/info")
		{ echo "${field[2]}"; echo; cat "$tmp/msg"; } | git stripspace >"$tmp/full"
		parent=$(GIT_AUTHOR_NAME=${field[0]} GIT_AUTHOR_EMAIL=${field[1]} GIT_AUTHOR_DATE=${field[3]} \
			fixed_committer git commit-tree -p "$parent" -F "$tmp/full" "$tree")
	done < <(series)
	rm -rf "$tmp"
	echo "$parent"
}

update_series() {
	local sum tip
	sum=$(series_sum)
	# Nothing new in patches/: commits made here are somebody's work in progress, and are built as they are.
	if [ -e "$state/series" ] && [ "$sum" = "$(cat "$state/series")" ]; then
		[ "$(git rev-parse HEAD)" = "$(cat "$state/tip")" ] ||
			note "build/linux has commits that are not exported (make export-patches)"
		return
	fi
	tip=$(apply_series)
	# The same tree by another way, as after an export: there is nothing to do.
	if [ "$(git rev-parse 'HEAD^{tree}')" != "$(git rev-parse "$tip^{tree}")" ]; then
		[ "$(git rev-parse HEAD)" = "$(cat "$state/tip" 2>/dev/null || git rev-parse 'base^{commit}')" ] ||
			die "patches/ changed, and build/linux has commits that are not exported: run 'make export-patches' first, or drop them there"
		# --keep writes only what differs, and stops rather than overwrite an edited file.
		git reset -q --keep "$tip" || die "build/linux has edits in files that the new patches change: commit or drop them"
		note "applied $(series | wc -l) patches"
	fi
	git rev-parse HEAD >"$state/tip"
	echo "$sum" >"$state/series"
}
update_series

# --- 3. the overlay ------------------------------------------------------------------------------

overlay_files() (
	cd "$TOP"
	if [ -e .git ]; then
		git ls-files -co --exclude-standard -- "${OVERLAY_DIRS[@]}"
	else
		find "${OVERLAY_DIRS[@]}" -type f 2>/dev/null || true
	fi | LC_ALL=C sort -u | while read -r f; do
		# Listed by git but removed from the work tree: not part of the overlay any more.
		[ ! -e "$f" ] || echo "$f"
	done
)

link_overlay() {
	local f up depth list=$state/overlay
	touch "$list"
	overlay_files >"$list.new"
	f=$(git ls-files -- ':(top)net/fastsocket' | head -1)
	[ -z "$f" ] || die "$f is in the prepared tree's commits; new files belong in the overlay, as $TOP/$f"
	f=$(xargs -r -d '\n' git ls-files -- <"$list.new" | head -1)
	[ -z "$f" ] || die "overlay file $f exists in the kernel or is made by a patch: change it by a commit in build/linux instead"

	while read -r f; do
		[ ! -L "$f" ] || rm "$f"
		rmdir -p --ignore-fail-on-non-empty "$(dirname "$f")" 2>/dev/null || true
	done < <(LC_ALL=C comm -23 "$list" "$list.new")

	while read -r f; do
		[ "$f" -ef "$TOP/$f" ] && continue
		[ ! -e "$f" ] || [ -L "$f" ] || die "build/linux/$f is a file; a new file belongs in the overlay, as $f of the repository"
		mkdir -p "$(dirname "$f")"
		# Relative, so that the clone can be moved, and reads the same in a guest.
		up=${SRC#"$TOP"/}/$f
		depth=${up//[^\/]/}
		ln -sfn "${depth//\//../}$f" "$f"
	done <"$list.new"

	sed 's,^,/,' "$list.new" >"$SRC/.git/info/exclude"
	mv "$list.new" "$list"
}
link_overlay
