#!/bin/sh
# /init of the guest's initramfs: loads drivers, mounts the root disk and hands over to it.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in /modules/*; do
    $b insmod "$module"
done
root=/dev/vda2
waited=0
while [ ! -b $root ] && [ $waited -lt 100 ]; do
    $b usleep 50000
    waited=$((waited + 1))
done
# Out loud, so that the console log tells a missing disk from a hung guest.
$b mount -t ext4 $root /newroot || { echo "GUEST-FAILED no root disk $root" >/dev/console; exec $b sh; }
for directory in proc sys dev; do
    $b mount -o move /$directory /newroot/$directory
done
exec $b switch_root /newroot /sbin/init
