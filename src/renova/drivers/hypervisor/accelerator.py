"""Which accelerator runs guests here: KVM where it really does, else TCG, QEMU's own emulation.

/dev/kvm may exist and yet hang every guest, or be slower than emulation (a software-only KVM below us). So it is
tried: a boot sector must run to its end. Asked once per process by the agent and by the lab, who keep the answer.
"""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Literal

# Counts down from 65,535, writes OK to the serial port, then has QEMU exit with status 33 = 16 * 2 + 1.
_BOOT_SECTOR = bytes.fromhex(
    "fa"  # cli
    "b9ffff 49 75fd"  # mov cx,0xffff; again: dec cx; jnz again
    "baf803 b04f ee b04b ee"  # mov dx,0x3f8; mov al,'O'; out dx,al; mov al,'K'; out dx,al
    "baf400 b010 ee"  # mov dx,0xf4; mov al,16; out dx,al
    "f4 ebfd"  # hlt, for ever
).ljust(510, b"\0") + bytes.fromhex("55aa")
_EXIT_STATUS = 33
_EXTENSIONS = {"vmx", "svm"}  # Intel's and AMD's, as flags in /proc/cpuinfo
_QEMU = "qemu-system-x86_64"
_TCG_LIMIT_S = 20.0  # a busy machine may be slow; this only ever delays a start
_KILL_LIMIT_S = 5.0


@dataclass(frozen=True)
class Accelerator:
    """What runs guests, and a line for people that says why."""

    kind: Literal["kvm", "tcg"]
    reason: str


def probe_kvm(
    device: Path = Path("/dev/kvm"),
    monotonic: Callable[[], float] = time.monotonic,
    cpuinfo: Path = Path("/proc/cpuinfo"),
) -> Accelerator:
    """Try whether KVM runs guests here; takes well under a second where it does, and never over half a minute.

    The processor must have the extension, and the boot sector must run about as fast as by TCG, which it does at once:
    on a busy machine a KVM made of software may pass a lenient test, and then hang every real guest.
    """
    if not device.exists():
        return Accelerator("tcg", f"TCG: there is no {device}")
    if not _EXTENSIONS & set(cpuinfo.read_text().split()):
        return Accelerator("tcg", f"TCG: {device} is there, but the processor has no virtualization extension")
    if which(_QEMU) is None:
        return Accelerator("tcg", f"TCG: {_QEMU} is not installed, so KVM could not be tried")
    with TemporaryDirectory() as directory:
        disk = Path(directory, "boot-sector")
        disk.write_bytes(_BOOT_SECTOR)
        began = monotonic()
        problem = _run("tcg", disk, _TCG_LIMIT_S)
        tcg_s = monotonic() - began
        if problem is not None:
            return Accelerator("tcg", f"TCG: KVM could not be tried, as not even TCG ran a boot sector ({problem})")
        limit = 1.5 * tcg_s + 0.3
        began = monotonic()
        problem = _run("kvm", disk, limit)
        kvm_s = monotonic() - began
    if problem is not None:
        return Accelerator("tcg", f"TCG: {device} is there but ran no boot sector ({problem}; TCG took {tcg_s:.2f} s)")
    return Accelerator("kvm", f"KVM: ran a boot sector in {kvm_s:.2f} s (TCG: {tcg_s:.2f} s)")


def _run(accelerator: str, disk: Path, limit: float) -> str | None:
    """Run the boot sector; say what went wrong, or None."""
    argv = [_QEMU, "-accel", accelerator, "-M", "pc", "-m", "32", "-nodefaults", "-display", "none", "-no-reboot"]
    argv += ["-drive", f"file={disk},format=raw,if=ide,snapshot=on", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    argv += ["-serial", "stdio", "-monitor", "none"]
    output = disk.with_name(f"output-{accelerator}")
    with output.open("wb") as file:
        qemu = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    try:
        status = qemu.wait(limit)
    except subprocess.TimeoutExpired:
        qemu.kill()
        try:
            qemu.wait(_KILL_LIMIT_S)
        except subprocess.TimeoutExpired:
            # Stuck in the kernel: left behind, rather than waited for without end.
            return f"not within {limit:.1f} s, nor could it be killed"
        return f"not within {limit:.1f} s"
    told = output.read_text(errors="replace").strip()
    if status == _EXIT_STATUS and "OK" in told:
        return None
    return f"QEMU ended with {status}: {told[-200:]}"
