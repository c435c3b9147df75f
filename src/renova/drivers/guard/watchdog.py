"""The watchdog of a real host, or none: where there is no device, nothing counts, and the guard's class says so."""

from collections.abc import Callable
from pathlib import Path

import structlog

from renova.drivers.guard import watchdog_device as device
from renova.drivers.guard.machine import can_sleep, virtual
from renova.drivers.guard.strength import Facts, Strength, strength_of
from renova.drivers.guard.watchdog_device import DeviceFile, Driver, File
from renova.model.errors import BadSetup, NotNow
from renova.model.host import GuardClass

log = structlog.get_logger()

USUAL = Path("/dev/watchdog")
SOONEST_S = 1


class KernelWatchdog:
    """The watchdog behind `file`, which counts already, to reset the host `wanted_s` after it was last petted.

    `BadSetup` when it cannot be told that: drivers take the next they know, so what is set is read back.
    """

    def __init__(
        self, file: File, wanted_s: int, strength: Strength, reset: Callable[[], None], node: Path | None = None
    ) -> None:
        self._file = file
        self._driver = device.driver(file)
        self._node = node
        self._reset = reset
        self._failed = False
        self.found = strength
        if self._driver.options & device.SETS_TIMEOUT:
            device.set_timeout(file, wanted_s)
        self._timeout_s = device.timeout(file)
        if not 0 < self._timeout_s <= wanted_s:
            raise self.refused(
                f"The watchdog {self.kind} resets after {self._timeout_s} s and cannot be set to {wanted_s} s. "
                "Choose another watchdog, or longer times for lease and watchdog."
            )

    @property
    def timeout_s(self) -> float:
        return self._timeout_s

    @property
    def strength(self) -> GuardClass:
        return self.found.guard

    @property
    def kind(self) -> str:
        return self._driver.identity

    def pet(self) -> None:
        try:
            device.keep_alive(self._file)
        except OSError as error:
            # Then it resets the host, which is what it is there for; said once, since this comes every second.
            if not self._failed:
                log.error("watchdog cannot be petted", watchdog=self.kind, reason=str(error))
            self._failed = True

    def disarm(self) -> None:
        if device.has_no_way_out(self._node) or not self._driver.options & device.MAGIC_CLOSE:
            raise NotNow(f"the watchdog {self.kind} cannot be stopped: it lets nobody out once it counts")
        device.stop(self._file)
        self._file.close()
        if device.still_counts(self._node):
            raise NotNow(f"the watchdog {self.kind} was told to stop and counts on")

    def refused(self, reason: str) -> BadSetup:
        """Let go of it, for nobody will pet it, and return what is to be raised."""
        try:
            self.disarm()
        except (NotNow, OSError):
            return BadSetup(f"{reason} It counts already and cannot be stopped: it will reset this host.")
        return BadSetup(reason)

    def reset(self) -> None:
        # Both: what the kernel cannot do any more, the watchdog still can.
        try:
            device.set_timeout(self._file, SOONEST_S)
        except OSError as error:
            log.error("watchdog cannot be hurried", watchdog=self.kind, reason=str(error))
        self._reset()


class NoWatchdog:
    """Where the host has none."""

    timeout_s = 0.0
    kind = "none"

    def __init__(self, strength: Strength, reset: Callable[[], None]) -> None:
        self.found = strength
        self._reset = reset

    @property
    def strength(self) -> GuardClass:
        return self.found.guard

    def pet(self) -> None: ...

    def disarm(self) -> None: ...

    def refused(self, reason: str) -> BadSetup:
        return BadSetup(reason)

    def reset(self) -> None:
        self._reset()


class SeenResets:
    """Remembers on disk which watchdogs have reset this host; in the directory of its identity, and so for as long."""

    def __init__(self, state: Path) -> None:
        self._file = state / "watchdogs-seen-to-reset"

    def note(self, identity: str) -> None:
        if identity not in self.all():
            with self._file.open("a") as file:
                file.write(f"{identity}\n")

    def all(self) -> list[str]:
        return self._file.read_text().splitlines() if self._file.exists() else []


def watchdog_of_host(
    path: Path, wanted_s: int, state: Path, reset: Callable[[], None], *, weak_gate: str = ""
) -> KernelWatchdog | NoWatchdog:
    """Open this host's watchdog, which counts from then on. `BadSetup` when somebody else has it, or it will not do.

    `state` is where it is remembered to have reset this host, `weak_gate` the weakness of what is before it.
    """
    if not path.exists():
        return NoWatchdog(strength_of(facts_of(path, state, weak_gate=weak_gate)), reset)
    try:
        file = DeviceFile(path)
    except OSError as error:
        raise BadSetup(
            f"The watchdog {path} cannot be opened ({error.strerror}). Is another program petting it?"
        ) from error
    return watchdog_behind(file, path, wanted_s, state, reset, weak_gate=weak_gate)


def watchdog_behind(
    file: File, path: Path, wanted_s: int, state: Path, reset: Callable[[], None], *, weak_gate: str = ""
) -> KernelWatchdog:
    """Take the watchdog behind an open device file, and remember if it has reset this host. `BadSetup` if it fails."""
    node = device.node_of(path)
    try:
        driver = device.driver(file)
        if device.has_reset_the_host(file):
            _note(driver, state)
        facts = facts_of(path, state, driver, weak_gate=weak_gate)
        return KernelWatchdog(file, wanted_s, strength_of(facts), reset, node)
    except OSError as error:
        raise BadSetup(f"The watchdog {path} cannot be used ({error.strerror}).{_let_go(file)}") from error


def _note(driver: Driver, state: Path) -> None:
    try:
        SeenResets(state).note(driver.identity)
    except OSError as error:  # a weaker guard is better than a host that is reset again and again for want of space
        log.warning("watchdog's reset of this host not noted", watchdog=driver.identity, reason=str(error))


def _let_go(file: File) -> str:
    """Stop a device that nobody will pet; say what comes of one that refuses."""
    try:
        device.stop(file)
    except OSError:
        return " It may count already, and reset this host."
    finally:
        file.close()
    return ""


def facts_of(path: Path, state: Path, driver: Driver | None = None, *, weak_gate: str = "") -> Facts:
    """Say what decides over this host's class; without its `driver`, from what can be seen and leaves it asleep."""
    node = device.node_of(path)
    identity = driver.identity if driver else device.identity_of(node) or (str(path) if path.exists() else "")
    return Facts(
        virtual=virtual(),
        sleeps=can_sleep(),
        watchdog=identity,
        software=device.is_made_of_software(identity, node),
        seen_to_reset=identity in SeenResets(state).all(),
        weak_gate=weak_gate,
    )
