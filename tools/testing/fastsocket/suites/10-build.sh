#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Configurations keep what we ask for; the guests' kernels, the module and the tools build, and so does a kernel without
# any of that.

. "$(dirname "$0")/../tap.sh"

scripts/prepare.sh || exit 1
for kind in default vm debug; do
	try "config $kind keeps every requested option" scripts/config.sh $kind || exit 1
done
for kind in vm debug; do
	try "$kind kernel" scripts/build.sh $kind -j"$(nproc)" || exit 1
	try "$kind fastsocket.ko" test -e "$BUILD/$kind/net/fastsocket/fastsocket.ko"
done
try "what the patches touch builds without Fastsocket" scripts/without.sh
if [ -e Cargo.toml ]; then try "tools" scripts/tools.sh build; else skip "tools" "no Cargo.toml"; fi
plan
