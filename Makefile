# SPDX-License-Identifier: GPL-2.0
#
# Fastsocket for Linux 6.12: prepares a kernel tree in build/linux (source, patches, overlay), and
# hands everything else to the kernel's own make. `make help` lists what there is.

Q := $(if $(filter 1,$(V)),,@)
.NOTPARALLEL:
.SUFFIXES:
.DEFAULT_GOAL := all
SHELL := /bin/bash

# Which build directory (build/KIND) the kernel's targets work in.
KIND ?= default
export KSRC FASTSOCKET_CACHE

# Given to boot and bench-live.
CPUS ?= 4
MEM ?= 2G
BOOT_KIND := $(if $(filter 1,$(DEBUG)),debug,vm)

# The kernel's make starts without our MAKEFLAGS: pass on what was given on the command line.
OWN_VARS := KIND KSRC CPUS MEM RUN DEBUG SYMBOLS WHERE ROUNDS REQUESTS RUN_SECONDS FASTSOCKET_CACHE
squote = '$(subst ','\'',$(1))'
OVERRIDES = $(foreach v,$(filter-out $(OWN_VARS),$(.VARIABLES)),$(if $(filter command,$(origin $v)),$v=$(call squote,$($v))))
# No other compiler has Rust: it would be found out after minutes, if at all.
$(if $(filter command,$(origin CC)),$(if $(findstring clang,$(CC)),,\
  $(error CC=$(CC): clang/LLVM is required, since the kernel has Rust in it)))
$(if $(filter command,$(origin LLVM)),$(if $(filter-out 0,$(LLVM)),,\
  $(error LLVM=$(LLVM): clang/LLVM is required, since the kernel has Rust in it)))
JOBS = $(or $(patsubst -j%,%,$(filter -j%,$(MAKEFLAGS))),$(shell nproc))
kbuild = scripts/kbuild.sh $(1) -j$(JOBS) $(OVERRIDES)

OWN := all help setup ready ready-to-build prepare defconfig kernel vm debug stock tools boot demo test soak kunit bench bench-quick \
       bench-live lint format rust-analyzer patch export-patches objsize helpconfig clean distclean

PHONY := $(OWN)

# --- the tree ------------------------------------------------------------------------------------

setup:
	$(Q)scripts/setup.sh

# What is missing is said before anything is unpacked.
ready:
	$(Q)scripts/setup.sh --check
ready-to-build:
	$(Q)scripts/setup.sh --check build

prepare: ready-to-build
	$(Q)scripts/prepare.sh

export-patches:
	$(Q)scripts/export-patches.sh

patch: prepare
	$(Q)scripts/patch.sh

# --- building ------------------------------------------------------------------------------------

all: kernel tools

defconfig: prepare
	$(Q)scripts/config.sh --new default

# A configuration that the user changed by menuconfig and the like is theirs, and is kept.
kernel: prepare
	$(Q)scripts/config.sh $(KIND)
	$(Q)$(call kbuild,$(KIND))

# The kernels that the guests run.
vm debug: prepare
	$(Q)scripts/config.sh $@
	$(Q)scripts/build.sh $@ -j$(JOBS) $(OVERRIDES)

# The same kernel as vm without the patches, to compare with.
stock: vm
	$(Q)scripts/stock.sh

tools: ready-to-build
	$(Q)scripts/tools.sh build
	$(Q)scripts/tools.sh static

# The kernel's own targets: modules_install, install, menuconfig, ...; and files.
HANDED := $(filter-out $(OWN),$(MAKECMDGOALS))
PHONY += $(HANDED)
$(HANDED): prepare
	$(Q)$(if $(filter %config clean mrproper help,$@),,scripts/config.sh $(KIND))
	$(Q)$(call kbuild,$(KIND)) $@

# --- running -------------------------------------------------------------------------------------

boot: ready $(BOOT_KIND) tools
	$(Q)scripts/vm.sh -k $(BOOT_KIND) -c $(CPUS) -m $(MEM) $(if $(value RUN),-- $(call squote,$(value RUN)))

# The commands that a newcomer gives do all the set-up themselves.
demo: setup vm tools
	$(Q)scripts/demo.sh

test: setup
	$(Q)scripts/test.sh $(SUITES)

soak:
	$(Q)FASTSOCKET_SOAK=1 scripts/setup.sh
	$(Q)FASTSOCKET_SOAK=1 scripts/test.sh $(SUITES)

kunit:
	$(Q)scripts/test.sh 10-build 20-kunit

# Figures come from here alone.
bench: setup vm stock tools
	$(Q)SYMBOLS=$(SYMBOLS) scripts/bench.sh full

bench-quick: setup vm tools
	$(Q)SYMBOLS=$(SYMBOLS) scripts/bench.sh quick

bench-live: setup $(if $(filter host,$(WHERE)),,vm) tools
	$(Q)CPUS=$(CPUS) MEM=$(MEM) scripts/bench-live.sh

# --- looking after the code ----------------------------------------------------------------------

lint: ready prepare
	$(Q)scripts/lint.sh

format:
	$(Q)scripts/lint.sh --fix

rust-analyzer: prepare
	$(Q)scripts/config.sh $(KIND)
	$(Q)$(call kbuild,$(KIND)) rust-analyzer
	$(Q)ln -sf build/$(KIND)/rust-project.json rust-project.json

objsize: vm
	$(Q)scripts/objsize.sh

helpconfig: prepare
	$(Q)rm -rf build/helpconfig
	$(Q)scripts/kbuild.sh helpconfig -s KBUILD_KCONFIG=$(CURDIR)/Kconfig helpnewconfig | \
		{ grep . || { echo "Kconfig lacks a stand-in for what net/fastsocket/Kconfig depends on"; exit 1; }; }

clean:
	rm -rf build/default build/vm build/debug build/stock build/stock-source build/ksrc-*/default \
		build/ksrc-*/vm build/ksrc-*/debug build/clippy build/helpconfig build/cargo build/selftests \
		build/patch build/bench build/without build/logs

distclean:
	$(Q)scripts/prepare.sh --may-remove
	rm -rf build

help:
	@sed -n 's/^#: \{0,1\}//p' Makefile
	@echo; cd tools/testing/fastsocket/suites && echo SUITES: [0-9]*.sh | sed 's/\.sh//g'

#: Fastsocket for Linux 6.12, in Rust
#:
#: First:
#:   setup            install what is needed (Debian 12, as root), or say what is missing
#:   demo             servers on a 4-CPU guest, without and with per-core sockets
#:   test             the tests; SUITES="10-build 20-kunit" for some of them
#:   soak             the same with long settings, which takes hours: before a release
#:
#: Building:
#:   defconfig        x86_64_defconfig with kernel/configs/fastsocket.config on top
#:   all (default)    kernel, modules and tools; makes a configuration if there is none
#:   modules_install  as on any kernel tree, and so are
#:   install          these, menuconfig, ...: what is not listed here is the kernel's own target
#:   tools            libfsocket.so, the commands and the demo server, in build/cargo
#:   vm, debug        the small kernels that guests run; KIND=vm makes other targets mean them
#:   stock            the kernel vm without the patches
#:   clean            remove what was built; the kernel's source and the cache stay
#:   distclean        remove build/ whole
#:
#: Running:
#:   boot             a root shell in a guest on this machine's file system (changes are lost)
#:   boot CPUS=4 RUN="command"
#:                    run the command there, and end with its status; MEM=2G; DEBUG=1 takes the
#:                    debug kernel; the kernel's console is kept in build/logs
#:   kunit            KUnit tests alone
#:   bench            instructions and cache line transfers of a connection, counted in emulated
#:                    guests with 1 to 24 CPUs: ours beside the stock kernel's; SYMBOLS=1 says where
#:                    and for what; then servers of every common shape, spawned beside plain
#:                    (scripts/shapes.sh)
#:   bench-quick      the same for a few of them, in some minutes
#:   bench-live       servers under load, on plain sockets and on Fastsocket's in turn: prints ratios and
#:                    their spread, and whether this machine is large enough for them to mean anything;
#:                    in a guest with CPUS=4 MEM=2G, or with WHERE=host on the kernel that runs here, as
#:                    root; ROUNDS=5, REQUESTS= of a run or RUN_SECONDS=5; FASTSOCKET_KVM=1 for speed
#:
#: Working on it:
#:   prepare          bring build/linux up to date: source, patches/, links to our files
#:   export-patches   write the commits made in build/linux to patches/
#:   patch            one series for a plain 6.12.y tree in build/patch, checked with git am
#:   lint, format     rustfmt, clippy, checkpatch, shellcheck; rewrite with rustfmt
#:   objsize          what the patches change in object code, function by function
#:   rust-analyzer    rust-project.json
#:   helpconfig       the configuration options that we add
#:
#: KSRC=/path/to/linux-6.12.y takes another source than the one that BASE names.
#: V=1, W=1, INSTALL_MOD_PATH= and so on go to the kernel's make.
#: FASTSOCKET_CACHE is the directory for ccache, bindgen and virtme-ng (~/.cache/fastsocket).

.PHONY: $(PHONY)
