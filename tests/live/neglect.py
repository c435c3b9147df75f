"""How a guest comes to be one that hangs: scripts for its shell."""

# Has the guest's watchdog, an i6300esb, fire in 5 s, as if nobody fed it; Debian's cloud kernel has no driver of it.
# Its two timers, one after the other, count in 1/1007 s, and each write to them has to be unlocked; bit 1 of the lock
# register, which is in its configuration, starts them.
NEGLECT_WATCHDOG = """
device=$(dirname $(grep -lx 0x25ab /sys/bus/pci/devices/*/device))
echo 1 >$device/enable
read -r base _ <$device/resource
for timer in 0x0 0x4; do
    devmem $((base + 0xc)) 16 0x80
    devmem $((base + 0xc)) 16 0x86
    devmem $((base + timer)) 32 2500
done
printf '\\2' | dd of=$device/config bs=1 seek=$((0x68)) conv=notrunc 2>/dev/null
"""

# Answers as QEMU's guest agent does, to two pings; then it stands still with its way out open.
ANSWER_TWICE = """
insmod /lib/guest/modules/*virtio_console*
port=
while [ -z "$port" ]; do
    for each in /sys/class/virtio-ports/*; do
        [ "$(cat $each/name)" = org.qemu.guest_agent.0 ] && port=/dev/${each##*/}
    done
done
cat >/run/agent <<'END'
exec 3<>$1
pings=0
while :; do
    read -r line <&3 || { usleep 100000; continue; }  # nobody outside listens yet
    case $line in
    *guest-sync*) echo "{\\"return\\": $(echo "$line" | sed 's/.*"id": *\\([0-9]*\\).*/\\1/')}" >&3 ;;
    *guest-ping*) echo '{"return": {}}' >&3; pings=$((pings + 1)) ;;
    esac
    [ $pings = 2 ] && kill -STOP $$
done
END
sh /run/agent $port >/dev/null 2>&1 &
"""
