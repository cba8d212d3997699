# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What guests have in common whose clock is the count of instructions: source it after lib.sh. Such a guest
# has one program, which is its init, and does the same to the instruction each time.

# icount_kernel KIND: the directory of the kernel build/KIND, or of one that is named by a path.
icount_kernel() {
	local dir=$BUILD/$1
	case $1 in */*) dir=$(realpath "$1") ;; esac
	[ -r "$dir/arch/x86/boot/bzImage" ] || die "there is no kernel in $dir: run 'make vm'"
	printf '%s\n' "$dir"
}

# icount_init NAME: the program that is to be init.
icount_init() {
	local init=$TOP/build/cargo/x86_64-unknown-linux-gnu/release/$1
	[ -r "$init" ] || die "there is no $init: run 'scripts/tools.sh static'"
	printf '%s\n' "$init"
}

# icount_initrd KERNEL INIT FILES >INITRD: the program as init, the kernel's module if it has one, and what is
# in the directory FILES already.
icount_initrd() {
	local kernel=$1 init=$2 files=$3
	# Symbols would only take the guest's time.
	strip -o "$files/init" "$init"
	[ ! -e "$kernel/net/fastsocket/fastsocket.ko" ] || cp "$kernel/net/fastsocket/fastsocket.ko" "$files/"
	find "$files" -exec touch -h -d @0 {} +
	(cd "$files" && find . | LC_ALL=C sort | cpio -o -H newc --quiet --reproducible -R 0:0)
}

# Waiting loops take long where one thread runs all CPUs in turn: what can be told is not measured.
icount_boot="nokaslr lpj=8000000 tsc=reliable tsc_early_khz=1000000 no_timer_check cpu_init_udelay=10"
# The kernel tests its cryptography in threads after boot, and connections would be counted with them.
icount_boot+=" cryptomgr.notests=1"

# icount_qemu SECONDS CPUS SEED KERNEL INITRD COMMAND-LINE OPTION...: boot it, with the console on stdout. Nothing
# in the guest may depend on this machine: neither time, nor random numbers, nor how fast somebody answers. Hence no
# clock but the count of instructions, and no device but a serial port.
icount_qemu() {
	local limit=$1 cpus=$2 seed=$3 kernel=$4 initrd=$5 line=$6
	shift 6
	timeout -k 10 "$limit" qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
		-accel tcg,thread=single -icount shift=0,sleep=off -seed "$seed" -rtc base=2025-01-01T00:00:00,clock=vm \
		-cpu max -smp "$cpus" -m 1G -serial stdio \
		-kernel "$kernel/arch/x86/boot/bzImage" -initrd "$initrd" \
		-append "console=ttyS0 quiet panic=-1 $line" "$@" </dev/null
}
