#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Configurations keep what we ask for; the guest's kernel, the module and the tools build.

. "$(dirname "$0")/../tap.sh"

scripts/prepare.sh || exit 1
for kind in default vm debug; do
	try "config $kind keeps every requested option" scripts/config.sh $kind || exit 1
done
try "vm kernel" scripts/kbuild.sh vm -s -j"$(nproc)" || exit 1
try "fastsocket.ko" test -e "$BUILD/vm/net/fastsocket/fastsocket.ko"
if [ -e Cargo.toml ]; then try "tools" scripts/tools.sh build; else skip "tools" "no Cargo.toml"; fi
plan
