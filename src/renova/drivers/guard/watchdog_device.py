"""A watchdog as Linux gives it: /dev/watchdog and its ioctls (linux/watchdog.h), and what sysfs says beside.

The device counts from when it is opened, and resets the machine when it is not petted for its timeout. Closing it does
not stop it unless the letter V was written just before ("magic close"), and not even then where the kernel was told
so ("no way out").
"""

import contextlib
import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CLASS = Path("/sys/class/watchdog")

# What a driver can do, and what was so at the boot: bits of `options` and of the boot status.
RESET_THE_HOST, SETS_TIMEOUT, MAGIC_CLOSE = 0x0020, 0x0080, 0x0100

_INFO = struct.Struct("II32s")  # options, firmware, identity
_INT = struct.Struct("i")
_READ, _WRITE = 2, 1


def _ioctl(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | ord("W") << 8 | number


GET_SUPPORT = _ioctl(_READ, 0, _INFO.size)
GET_BOOT_STATUS = _ioctl(_READ, 2, _INT.size)
SET_OPTIONS = _ioctl(_READ, 4, _INT.size)
KEEP_ALIVE = _ioctl(_READ, 5, _INT.size)
SET_TIMEOUT = _ioctl(_READ | _WRITE, 6, _INT.size)
GET_TIMEOUT = _ioctl(_READ, 7, _INT.size)
DISABLE = 0x0001


class File(Protocol):
    """An open /dev/watchdog, down to its system calls. Errors: OSError."""

    def ioctl(self, request: int, content: bytearray) -> None:
        """Ask the driver; the answer comes in `content`."""
        ...

    def write(self, content: bytes) -> None: ...

    def close(self) -> None: ...


class DeviceFile:
    """The real one. It is opened by making this: from then on it counts."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def ioctl(self, request: int, content: bytearray) -> None:
        fcntl.ioctl(self._descriptor, request, content, True)

    def write(self, content: bytes) -> None:
        os.write(self._descriptor, content)

    def close(self) -> None:
        os.close(self._descriptor)


@dataclass(frozen=True)
class Driver:
    """What a driver says of itself."""

    identity: str
    options: int


def driver(file: File) -> Driver:
    answer = bytearray(_INFO.size)
    file.ioctl(GET_SUPPORT, answer)
    options, _firmware, identity = _INFO.unpack(answer)
    return Driver(identity.split(b"\0", 1)[0].decode(errors="replace"), options)


def has_reset_the_host(file: File) -> bool:
    """Say whether it is known that this watchdog made the host boot; False where its driver does not tell."""
    answer = bytearray(_INT.size)
    with contextlib.suppress(OSError):
        file.ioctl(GET_BOOT_STATUS, answer)
    return bool(_INT.unpack(answer)[0] & RESET_THE_HOST)


def set_timeout(file: File, seconds: int) -> None:
    file.ioctl(SET_TIMEOUT, bytearray(_INT.pack(seconds)))


def timeout(file: File) -> int:
    answer = bytearray(_INT.size)
    file.ioctl(GET_TIMEOUT, answer)
    return int(_INT.unpack(answer)[0])


def keep_alive(file: File) -> None:
    file.ioctl(KEEP_ALIVE, bytearray(_INT.size))


def stop(file: File) -> None:
    """Ask it to count no more, in both ways that drivers know; whether it does, sysfs may tell."""
    with contextlib.suppress(OSError):  # most know the other way only
        file.ioctl(SET_OPTIONS, bytearray(_INT.pack(DISABLE)))
    file.write(b"V")


def node_of(path: Path, devices: Path = CLASS) -> Path | None:
    """Return the directory in sysfs of the watchdog behind this device file; None for a driver that has none."""
    # /dev/watchdog is a second door to the first watchdog.
    name = "watchdog0" if path.name == "watchdog" else path.name
    return devices / name if (devices / name).exists() else None


def identity_of(node: Path | None) -> str:
    """Return how the driver calls itself, without opening the device; "" when sysfs does not tell."""
    return _attribute(node, "identity")


def is_made_of_software(identity: str, node: Path | None) -> bool:
    """Say whether the kernel itself does the counting (softdog), and no hardware."""
    return identity == "Software Watchdog" or (node is not None and "virtual" in node.resolve().parts)


def has_no_way_out(node: Path | None) -> bool:
    return _attribute(node, "nowayout") == "1"


def still_counts(node: Path | None) -> bool:
    return _attribute(node, "state") == "active"


def _attribute(node: Path | None, name: str) -> str:
    try:
        return "" if node is None else (node / name).read_text().strip()
    except FileNotFoundError:
        return ""  # a kernel that was built without these
