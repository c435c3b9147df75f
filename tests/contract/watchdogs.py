"""A watchdog of which only the device file is simulated: what the kernel would do with the system calls."""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field

from renova.drivers.guard import watchdog_device as device
from renova.model.clock import SystemClock


class HandClock(SystemClock):
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def monotonic(self) -> float:
        return self.now

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Have it done when so much time has passed."""
        self._due.append((self.now + seconds, act))

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        due = [act for at, act in self._due if at <= self.now]
        self._due = [each for each in self._due if each[0] > self.now]
        for act in due:
            act()


@dataclass
class SimulatedDevice:
    """An open device file; `granularity` and `longest` bound what timeouts the hardware knows."""

    clock: HandClock
    identity: str = "iTCO_wdt"
    options: int = device.SETS_TIMEOUT | device.MAGIC_CLOSE | device.RESET_THE_HOST
    granularity: int = 1
    timeout_s: int = 60
    boot_status: int = 0
    broken: bool = False
    _last: float = field(init=False)
    _counts: bool = True
    _magic: bool = False

    def __post_init__(self) -> None:
        self._last = self.clock.now

    def has_reset(self) -> bool:
        return self._counts and self.clock.now - self._last >= self.timeout_s

    def ioctl(self, request: int, content: bytearray) -> None:
        if self.broken:
            raise OSError(errno.EIO, "the device is broken")
        # The size of what is passed is part of a request: the kernel would write beyond anything shorter.
        assert len(content) == request >> 16 & 0x3FFF
        number = int.from_bytes(content[:4], "little")
        match request:
            case device.GET_SUPPORT:
                content[:] = self.options.to_bytes(4, "little") + bytes(4) + self.identity.encode().ljust(32, b"\0")
            case device.GET_BOOT_STATUS:
                content[:] = self.boot_status.to_bytes(4, "little")
            case device.SET_TIMEOUT if self.options & device.SETS_TIMEOUT:
                self.timeout_s = -(-number // self.granularity) * self.granularity
                self._last = self.clock.now
                content[:] = self.timeout_s.to_bytes(4, "little")
            case device.GET_TIMEOUT:
                content[:] = self.timeout_s.to_bytes(4, "little")
            case device.KEEP_ALIVE:
                self._last = self.clock.now
            case _:
                raise OSError(errno.ENOTTY, "the driver does not know that")

    def write(self, content: bytes) -> None:
        self._magic = content.endswith(b"V")
        self._last = self.clock.now

    def close(self) -> None:
        if self._magic and self.options & device.MAGIC_CLOSE:
            self._counts = False
