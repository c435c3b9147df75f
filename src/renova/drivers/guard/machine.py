"""What the machine below says of itself: whether it is one at all, and whether it can be put to sleep."""

from pathlib import Path

ROOT = Path("/")

# How machines that are none call themselves in their firmware: vendor and product, by their beginnings.
VIRTUAL_VENDORS = (
    "QEMU",
    "KVM",
    "VMware",
    "VMW",
    "innotek GmbH",
    "VirtualBox",
    "Oracle VM",
    "Xen",
    "Bochs",
    "Parallels",
    "BHYVE",
    "Hyper-V",
    "Apple Virtualization",
    "OpenStack",
    "Google Compute Engine",
    "DigitalOcean",
    "Virtual Machine",
    "Renova",  # a server of a cloud like this
)
FIRMWARE = ("sys_vendor", "product_name", "board_vendor", "bios_vendor")
SLEEP_UNITS = (
    "sleep.target",
    "suspend.target",
    "hibernate.target",
    "hybrid-sleep.target",
    "suspend-then-hibernate.target",
)


def virtual(root: Path = ROOT) -> str:
    """Say how it is known that this is a virtual machine; "" when nothing says so."""
    for line in _text(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags" and "hypervisor" in value.split():
            return "the processor has the flag hypervisor"
    if (kind := _text(root / "sys/hypervisor/type")) and "control_d" not in _text(root / "proc/xen/capabilities"):
        return f"it runs on {kind}"
    for entry in FIRMWARE:
        if (text := _text(root / "sys/class/dmi/id" / entry)).startswith(VIRTUAL_VENDORS):
            return f"its firmware says {entry} = {text}"
    return ""


def can_sleep(root: Path = ROOT) -> str:
    """Say what could put this machine to sleep; "" when nothing can."""
    states = _text(root / "sys/power/state")
    open_units = [unit for unit in SLEEP_UNITS if not _is_masked(root / "etc/systemd/system" / unit)]
    if not states or not open_units:
        return ""
    return f"the kernel can ({states}), and {', '.join(open_units)} are not masked"


def _is_masked(unit: Path) -> bool:
    try:
        return unit.readlink() == Path("/dev/null")
    except OSError:
        return False


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
