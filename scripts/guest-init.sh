#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=dash
#
# The first process of a guest; guest-qemu.sh has the kernel start it. virtme-ng's init, which its arguments
# name, comes after it: that has udev look at each device and systemd set up its directories, which is most
# of the time that a guest takes to boot, and minutes with the debug kernel. Guests need neither. devtmpfs has
# their devices, and what udev calls the channels of virtme-ng they are called here.

# A static program: one that has to be linked takes the debug kernel more than a second to execute.
b=/bin/busybox

# Programs that do nothing are in the place of those. virtme-ng would cover them with an overlay for all of
# /usr; for the kernel's modules it needs one for /usr/lib.
unset virtme_rw_overlay1 virtme_rw_overlay5
$b mount -t tmpfs tmpfs /mnt
$b mkdir /mnt/upper /mnt/work
$b mount -t overlay -o lowerdir=/usr/lib,upperdir=/mnt/upper,workdir=/mnt/work overlay /usr/lib
$b umount -l /mnt
for program in /usr/lib/systemd/systemd-udevd /usr/bin/udevadm /usr/bin/systemd-tmpfiles; do
	[ ! -e $program ] || $b mount -o bind /usr/bin/true $program
done

# The host may be late to name its channels.
$b mount -t sysfs sysfs /mnt
$b mkdir /dev/virtio-ports
named='' tries=300
while [ -z "$named" ] && [ $tries -gt 0 ]; do
	for port in /mnt/class/virtio-ports/*; do
		! read -r name 2>/dev/null <"$port/name" || [ "$name" != virtme.ret ] || named=1
	done
	[ -n "$named" ] || $b sleep 0.1
	tries=$((tries - 1))
done
for port in /mnt/class/virtio-ports/*; do
	! read -r name 2>/dev/null <"$port/name" || $b ln -s "../${port##*/}" "/dev/virtio-ports/$name"
done
$b umount /mnt

for arg; do
	case $arg in init=*) exec "${arg#init=}" ;; esac
done
echo "guest-init: no init is named: $*" >/dev/kmsg
exit 1
