"""How a guest comes to be one that hangs: a script for its shell."""

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
