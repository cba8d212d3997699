#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What can be said without building a kernel: style checks, that the patch series applies, and that what
# cannot go well is refused at once.

. "$(dirname "$0")/../tap.sh"

try "patches and overlay make a tree" scripts/prepare.sh
while read -r line; do
	case $line in
	'lint: '*': ok') line=${line#lint: } && ok "${line%: ok}" ;;
	'lint: '*': FAILED') line=${line#lint: } && not_ok "${line%: FAILED}" ;;
	*) comment <<<"$line" ;;
	esac
done < <(LINT_FAST=1 scripts/lint.sh 2>&1)
try "one series, which git am applies to a plain tree" scripts/patch.sh

# refuses WORDS COMMAND...: it fails, and says WORDS.
refuses() {
	local words=$1 out
	shift
	if ! out=$("$@" 2>&1) && grep -qF -- "$words" <<<"$out"; then
		ok "refused: $words"
	else
		comment <<<"$out"
		not_ok "refused: $words"
	fi
}
refuses 'fastsocket: KSRC=/nowhere does not exist' make KSRC=/nowhere defconfig
refuses 'fastsocket: KSRC=/dev/null is no directory' make KSRC=/dev/null defconfig
refuses 'fastsocket: KSRC=/etc is not the source of a 6.12.y kernel' make KSRC=/etc defconfig
refuses 'CC=gcc: clang/LLVM is required' make CC=gcc vm
refuses 'LLVM=0: clang/LLVM is required' make LLVM=0 vm
refuses "run 'make setup'" make FASTSOCKET_CACHE=/nowhere vm
refuses 'there is no suite 00-none: there are 05-static' scripts/test.sh 00-none
plan
