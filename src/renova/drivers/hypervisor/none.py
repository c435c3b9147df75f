"""The hypervisor of a host that runs no guests: a storage host."""

from collections.abc import AsyncGenerator, Callable, Collection, Iterable

from renova.drivers.hypervisor import ImageSource
from renova.model.errors import Refused
from renova.model.guest import (
    Aside,
    CachedImage,
    Capabilities,
    Departure,
    FoundDevices,
    FoundGuest,
    Guest,
    GuestChanged,
    HostFacts,
    LocalDisks,
    Nic,
    Pulse,
    Reply,
    VolumeDisk,
    Way,
)
from renova.model.ids import HostId, ImageId, PortId, ServerId, VolumeId

FACTS = HostFacts("", 0, "none", "", 0, 0, 0, capabilities=Capabilities(evacuate=False))


class NoHypervisor:
    """Has no guests, and refuses to have any. What is asked to be gone is gone."""

    async def connect(self, changed: Callable[[GuestChanged], None]) -> None:
        pass

    async def close(self) -> None:
        pass

    def capabilities(self) -> Capabilities:
        return FACTS.capabilities

    async def facts(self) -> HostFacts:
        return FACTS

    async def guests(self) -> list[FoundGuest]:
        return []

    async def guest(self, server: ServerId) -> FoundGuest | None:
        return None

    async def pulse(self, server: ServerId) -> Pulse:
        return Pulse(Reply.NOBODY, 0)

    async def devices(self, server: ServerId) -> FoundDevices:
        return FoundDevices()

    async def prepare(self, guest: Guest, images: ImageSource) -> bool:
        raise _no_guests()

    async def has_disks(self, server: ServerId, disks: LocalDisks) -> bool:
        return False

    async def newer_disks(self, server: ServerId, disks: LocalDisks) -> int:
        return 0

    async def volumes_answer(self, volumes: Iterable[VolumeDisk]) -> None:
        pass

    async def start(self, guest: Guest) -> FoundGuest:
        raise _no_guests()

    async def define(self, guest: Guest) -> None:
        raise _no_guests()

    async def started_as(self, server: ServerId) -> str:
        return ""

    async def pause(self, server: ServerId) -> None:
        pass

    async def unpause(self, server: ServerId) -> None:
        pass

    async def suspend(self, server: ServerId) -> bool:
        return False

    async def resume(self, guest: Guest) -> FoundGuest:
        raise _no_guests()

    async def expect(self, guest: Guest, source: HostId) -> Way:
        raise _no_guests()

    async def turn_away(self, server: ServerId) -> None:
        pass

    async def depart(self, server: ServerId, to: Way, *, hurry: bool, wait_s: float) -> Departure:
        raise _no_guests()

    async def stay(self, server: ServerId) -> bool:
        return False

    async def take_in(self, guest: Guest, arrived: int) -> FoundGuest:
        raise _no_guests()

    async def snapshot(self, server: ServerId, disks: LocalDisks, image: ImageId) -> int:
        raise _no_guests()

    def read_snapshot(self, server: ServerId, image: ImageId) -> AsyncGenerator[bytes]:
        raise _no_guests()

    async def drop_snapshot(self, server: ServerId, image: ImageId) -> None:
        pass

    async def shut_down(self, server: ServerId, wait_s: float) -> bool:
        return True

    async def kill(self, server: ServerId) -> None:
        pass

    async def undefine(self, server: ServerId) -> None:
        pass

    async def drop_disks(self, server: ServerId, keep: int | None, up_to: int | None = None) -> bool:
        return True

    async def set_aside(self, server: ServerId, up_to: int) -> bool:
        return True

    async def asides(self) -> list[Aside]:
        return []

    async def drop_images(self, in_use: Collection[CachedImage], grace_s: float) -> list[str]:
        return []

    async def drop_asides(self, older_than_s: float) -> list[Aside]:
        return []

    async def attach_volume(self, server: ServerId, disk: VolumeDisk) -> None:
        raise _no_guests()

    async def detach_volume(self, server: ServerId, volume: VolumeId, wait_s: float) -> bool:
        return True

    async def attach_nic(self, server: ServerId, nic: Nic) -> None:
        raise _no_guests()

    async def detach_nic(self, server: ServerId, port: PortId, mac: str, wait_s: float) -> bool:
        return True

    async def owner(self, server: ServerId) -> int | None:
        return None

    async def console(self, server: ServerId, limit: int = 102400) -> bytes:
        return b""


def _no_guests() -> Refused:
    return Refused("this host holds volumes and runs no guests")
