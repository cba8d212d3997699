#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kbuild.sh KIND [make arguments]: run the kernel's own make for build/KIND (default, vm, debug).
#
# This is the one place that knows the toolchain: LLVM 19, the distribution's rustc (its sources
# always match it), bindgen from the cache, and ccache where it is installed.

set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

kind=${1:?usage: kbuild.sh KIND [make arguments]}
shift

# Made by make for its own sub-makes; another tree's make must start without them.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES GIT_INDEX_FILE

export PATH=$CACHE/tools/bin:/usr/bin:/bin:/usr/sbin:/sbin:$PATH
export LIBCLANG_PATH=${LIBCLANG_PATH:-/usr/lib/llvm-19/lib}
# Fixed, so that the same source gives the same bytes, and ccache finds them from any clone.
export KBUILD_BUILD_TIMESTAMP='Sun Nov 17 00:00:00 UTC 2024' KBUILD_BUILD_USER=fastsocket KBUILD_BUILD_HOST=localhost

args=(LLVM=-19)
if command -v ccache >/dev/null; then
	export CCACHE_DIR=$CACHE/ccache CCACHE_BASEDIR=$TOP CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-4G}
	args+=(CC='ccache clang-19')
fi

[ -e "$BUILD/$kind/vmlinux" ] || case $kind in
default) need_space "$BUILD/$kind" 3 "the kernel '$kind'" ;;
vm | debug | stock) need_space "$BUILD/$kind" 1 "the kernel '$kind'" ;;
esac
# Two makes in one output directory would spoil each other's work.
mkdir -p "$BUILD/$kind"
exec 8>"$BUILD/$kind/.fastsocket.lock"
flock 8
exec make -C "$SRC" O="$BUILD/$kind" "${args[@]}" "$@"
