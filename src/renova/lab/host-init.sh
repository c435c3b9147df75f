#!/bin/sh
# The first process of a lab host: makes the host's own view of the machine, then reaps orphans until the power goes.
#   host-init.sh NAME HOST_DIR LIBVIRT_CACHE CGROUP [DEVICE...]
# CGROUP: the host's own, below the root of version 2; DEVICE: what of /dev the host gets besides the usual
# Runs alone in new pid, mount, net, uts and ipc namespaces with /proc mounted. Creates HOST_DIR/run/booted when done.
set -eu
name=$1 dir=$2 cache=$3 cgroup=$4
shift 4

hostname "$name"

# Directories first: afterwards HOST_DIR may be hidden, should it lie below one of these.
mkdir -p /var/lib/libvirt /etc/libvirt /var/log/libvirt /var/cache/libvirt
mount --bind "$dir/lib" /var/lib/libvirt
mount --bind "$dir/etc" /etc/libvirt
mount --bind "$dir/log" /var/log/libvirt
mount --bind "$cache" /var/cache/libvirt
mount --bind "$dir/passwd" /etc/passwd
mount --bind "$dir/group" /etc/group
mount --bind "$dir/boot_id" /proc/sys/kernel/random/boot_id
mkdir -p /var/lib/libvirt/qemu /var/log/libvirt/qemu /var/cache/libvirt/qemu

# Without a fresh /sys libvirt would see the network devices and cgroups of the machine below.
mount -t sysfs sysfs /sys

# Of the machine's cgroups it sees its own and those below, empty as after any boot: so a gate holds this host's guests
# and nobody else's. A kernel without version 2 gives it none.
all=$(mktemp -d)
if mount -t cgroup2 cgroup2 "$all"; then
    mkdir -p "$all/$cgroup"
    find "$all/$cgroup" -mindepth 1 -depth -type d -exec rmdir {} +
    mount --bind "$all/$cgroup" /sys/fs/cgroup
    umount "$all"
fi
rmdir "$all"

# A /dev of its own: its own terminals, and only the devices a host needs.
dev=$(mktemp -d)
mount -t tmpfs -o mode=755,size=64m dev "$dev"
mkdir "$dev/pts" "$dev/shm" "$dev/net"
for device in null zero full random urandom tty net/tun "$@"; do
    cp -a "/dev/$device" "$dev/$device"
    chmod 666 "$dev/$device"
done
ln -s pts/ptmx "$dev/ptmx"
ln -s /proc/self/fd "$dev/fd"
ln -s fd/0 "$dev/stdin"
ln -s fd/1 "$dev/stdout"
ln -s fd/2 "$dev/stderr"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$dev/pts"
mount -t tmpfs shm "$dev/shm"
mount --move "$dev" /dev
rmdir "$dev"

# An empty /run, as after any boot; the part libvirt uses can be seen from outside, for its socket.
run=$(mktemp -d)
mount -t tmpfs -o mode=755 run "$run"
mkdir "$run/libvirt" "$run/lock"
mount --bind "$dir/run" "$run/libvirt"
mount --no-mtab --move "$run" /run
rmdir "$run"
: >/run/libvirt/booted

# Whoever loses its parent becomes our child, and `wait` reaps it.
trap : TERM INT HUP
sleep infinity &
while :; do wait || :; done
