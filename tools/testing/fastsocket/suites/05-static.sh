#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What can be said without building a kernel: style checks, and that the patch series applies.

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
plan
