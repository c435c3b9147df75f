"""What the simulated hypervisor does past its Protocol: time, faults, and what guests wrote."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
import pytest

from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.hypervisor.simulated.image import Write
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.model.errors import NotNow
from renova.model.guest import GuestChanged, PowerState
from renova.model.ids import ImageId

from .guests import GUEST

CONTENT = b"an image"
assert GUEST.disks.root
ROOT = msgspec.structs.replace(
    GUEST.disks.root, image_bytes=len(CONTENT), image_sha256=hashlib.sha256(CONTENT).hexdigest(), image_format="raw"
)
THE_GUEST = msgspec.structs.replace(GUEST, disks=msgspec.structs.replace(GUEST.disks, root=ROOT))


class OneImage:
    async def read(self, image: ImageId) -> AsyncIterator[bytes]:
        yield CONTENT


@dataclass
class HandClock:
    """Goes only when told, or when somebody sleeps."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def wall(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    def monotonic(self) -> float:
        return self.now

    boottime = monotonic

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)
        self.now += seconds


async def host(
    clock: HandClock,
    changes: list[GuestChanged] | None = None,
    *,
    start_s: float = 0.0,
    boot_s: float = 0.0,
    shut_down_s: float = 0.0,
) -> SimulatedHypervisor:
    storage = SimulatedStorage("here")
    made = SimulatedHypervisor(clock, storage, start_s=start_s, boot_s=boot_s, shut_down_s=shut_down_s)
    await made.connect((changes if changes is not None else []).append)
    await made.prepare(THE_GUEST, OneImage())
    return made


async def test_a_guest_is_up_some_time_after_it_started() -> None:
    clock = HandClock()
    hypervisor = await host(clock, start_s=1.0, boot_s=4.0)
    await hypervisor.start(THE_GUEST)
    assert clock.now == 1.0
    clock.now = 4.9
    assert await hypervisor.console(GUEST.server) == b""
    clock.now = 5.0
    assert await hypervisor.console(GUEST.server) == b"GUEST-READY a-host boots=1\n"


async def test_a_guest_killed_before_it_was_up_never_booted() -> None:
    clock = HandClock()
    hypervisor = await host(clock, boot_s=4.0)
    await hypervisor.start(THE_GUEST)
    await hypervisor.kill(GUEST.server)
    clock.now = 10.0
    await hypervisor.start(THE_GUEST)
    clock.now = 14.0
    assert await hypervisor.console(GUEST.server) == b"GUEST-READY a-host boots=1\n"


async def test_powering_off_takes_its_time_and_gives_up_in_time() -> None:
    clock = HandClock()
    hypervisor = await host(clock, boot_s=4.0, shut_down_s=2.0)
    await hypervisor.start(THE_GUEST)
    assert not await hypervisor.shut_down(GUEST.server, 5.0)
    assert clock.now == 5.0
    assert await hypervisor.shut_down(GUEST.server, 5.0)
    assert clock.now == 7.0


async def test_no_seconds_mean_no_waiting() -> None:
    clock = HandClock()
    hypervisor = await host(clock)
    await hypervisor.start(THE_GUEST)
    assert await hypervisor.shut_down(GUEST.server, 60.0)
    assert clock.slept == []


async def test_a_power_cut_takes_the_guests_and_fails_what_was_under_way() -> None:
    changes: list[GuestChanged] = []
    hypervisor = await host(HandClock(), changes, start_s=1.0)
    start = asyncio.create_task(hypervisor.start(THE_GUEST))
    for _turn in ("of who asks", "of what serves it"):
        await asyncio.sleep(0)
    hypervisor.cut_power()
    hypervisor.power_on()
    with pytest.raises(NotNow):
        await start
    assert hypervisor.executing() == {}
    assert changes == []
    await hypervisor.start(THE_GUEST)
    hypervisor.cut_power()
    assert hypervisor.executing() == {}
    with pytest.raises(NotNow):
        await hypervisor.guests()


async def test_guests_outlive_an_away_hypervisor_and_are_told_of_again() -> None:
    changes: list[GuestChanged] = []
    hypervisor = await host(HandClock(), changes)
    await hypervisor.start(THE_GUEST)
    hypervisor.go_away()
    with pytest.raises(NotNow):
        await hypervisor.kill(GUEST.server)
    hypervisor.crash(GUEST.server)
    assert [change.power for change in changes] == [PowerState.RUNNING]
    hypervisor.come_back()
    assert [change.power for change in changes] == [PowerState.RUNNING, PowerState.CRASHED]


async def test_a_disk_remembers_which_incarnation_wrote_what() -> None:
    storage = SimulatedStorage("here")
    hypervisor = SimulatedHypervisor(HandClock(), storage)
    await hypervisor.prepare(THE_GUEST, OneImage())
    await hypervisor.start(THE_GUEST)
    hypervisor.write(GUEST.server, "hello")
    disk = storage.disks[GUEST.server, GUEST.disks.generation]
    assert disk.image == ROOT.image
    assert disk.writes == [Write(7, "boot"), Write(7, "hello")]


async def test_a_guest_may_power_itself_off() -> None:
    changes: list[GuestChanged] = []
    hypervisor = await host(HandClock(), changes)
    await hypervisor.start(THE_GUEST)
    hypervisor.power_off_inside(GUEST.server)
    assert changes[-1].power is PowerState.SHUTDOWN
