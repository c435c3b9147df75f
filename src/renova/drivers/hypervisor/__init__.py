"""What the agent needs of a hypervisor. libvirt's and the simulated one pass the same contract tests.

Every method says what should be, not what to add, so it may run twice, and may meet what a crashed run left.
Methods of one server are never called concurrently (`agent.guest` sees to it); of different servers they are.
A cancelled method leaves no process behind: it ends only when what it began has ended. Errors: `Refused` when it
can never work (an image that is not what it claims, a disk locked by another host), `NotNow` when the hypervisor
is away.

The server's disks have an owner: the highest incarnation that was ever prepared or started on them, kept beside
them. An older incarnation is refused, so a host that slept through a move cannot touch disks that it shares.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable
from typing import Protocol

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
    VolumeDisk,
    Way,
)
from renova.model.ids import HostId, ImageId, PortId, ServerId, VolumeId

WATCHDOG_FIRED = "its watchdog fired"  # by what a guest is found to hang


class DiskLocked(Refused):
    """Somebody has the server's disk open for writing: the old guest may live. Nothing was started."""


class ImageSource(Protocol):
    """Gives an image's bytes in order; the agent reads them from a controller over its own connection."""

    def read(self, image: ImageId) -> AsyncIterator[bytes]: ...


class Hypervisor(Protocol):
    """Runs the guests of one host."""

    async def connect(self, changed: Callable[[GuestChanged], None]) -> None:
        """Reach the hypervisor; from now on report each change of a guest's power state to `changed`.

        One whose watchdog fires and only pauses it, or does nothing, is reported as `hung`, and found so until it is
        started again, or is seen to go on otherwise. What its watchdog resets or powers off is not: that was wished.

        `changed` is called in the event loop and must not block. A connection that broke is opened again by
        itself; then the present state of every guest is reported once more.

        `NotNow` while the hypervisor or the storage of its guests is away: then this may be called again. `BadSetup`
        when guests can never run here.
        """
        ...

    async def close(self) -> None: ...

    def capabilities(self) -> Capabilities:
        """Say what this hypervisor can do; its host reports it among its facts."""
        ...

    async def facts(self) -> HostFacts: ...

    async def guests(self) -> list[FoundGuest]:
        """List the guests of Renova that are defined or running here, whoever started them."""
        ...

    async def guest(self, server: ServerId) -> FoundGuest | None: ...

    async def pulse(self, server: ServerId) -> Pulse:
        """Ask the agent inside the running guest for a sign of life; returns within some seconds, whatever it does.

        Others are asked meanwhile, as many at a time as the hypervisor bears. `NotNow` when the hypervisor is away.
        """
        ...

    async def devices(self, server: ServerId) -> FoundDevices:
        """Say which devices the server's running guest has at this moment."""
        ...

    async def prepare(self, guest: Guest, images: ImageSource) -> bool:
        """Have the guest's disks ready: cached image, root overlay, ephemeral disks, swap, config drive.

        Existing disks of the same generation are kept, never overwritten; one that is built on another image than the
        root disk's needs no other. The config drive is always written anew. Returns whether any disk was made now
        (False: all were there). Refused when a newer incarnation owns the disks.
        """
        ...

    async def has_disks(self, server: ServerId, disks: LocalDisks) -> bool:
        """Say whether all of these very disks are here, readable and writable."""
        ...

    async def newer_disks(self, server: ServerId, disks: LocalDisks) -> int:
        """Return the oldest generation above that of these disks of which all are here, as `has_disks`.

        0: none; or some of these very disks are left.
        """
        ...

    async def volumes_answer(self, volumes: Iterable[VolumeDisk]) -> None:
        """Return once the storage hosts of these volumes have answered this host; `StorageAway` when one does not.

        They are asked as well by `start`, `resume` and `attach_volume`, before these change anything.
        """
        ...

    async def start(self, guest: Guest) -> FoundGuest:
        """Define the guest anew and have it running; its disks and nics must be ready.

        A guest of the same incarnation that already runs on these disks is left running. One of an older incarnation,
        or on other disks, is killed first; a definition that does not run is replaced, and memory that was saved of it
        is dropped. One that stands still goes on. Refused when its disks are not there or a newer incarnation owns it
        or runs; `DiskLocked` when another guest has it open.
        """
        ...

    async def started_as(self, server: ServerId) -> str:
        """Return what a guest that runs or stands still was `started_as`; "" without one, or where nothing was said."""
        ...

    async def define(self, guest: Guest) -> None:
        """Define the guest without running it, and without memory; refused when it runs."""
        ...

    async def pause(self, server: ServerId) -> None:
        """Have a running guest stand still, with its memory kept. One that is off or absent stays so."""
        ...

    async def unpause(self, server: ServerId) -> None:
        """Have a guest that stands still go on. One that is off or absent stays so."""
        ...

    async def suspend(self, server: ServerId) -> bool:
        """Have the guest's memory saved on this host, and the guest off. Returns whether its memory is saved.

        A guest that was off has none to save, and stays off. When it cannot be saved, or the call is cancelled, the
        guest runs on. The memory goes with the definition: whatever replaces or ends that drops it.
        """
        ...

    async def resume(self, guest: Guest) -> FoundGuest:
        """Have the guest running, as `start`, but going on from its saved memory where this incarnation has any."""
        ...

    async def expect(self, guest: Guest, source: HostId) -> Way:
        """Have the way open by which the guest may arrive from `source` with its memory; its nics are ready.

        What of it arrived before goes. What arrives stands still until `take_in`, is found as `arriving`, and is no
        guest that `start` or `unpause` makes go on. Refused when its disks are not there, when another incarnation of
        the server is here, or where guests cannot arrive (`capabilities`).
        """
        ...

    async def turn_away(self, server: ServerId) -> None:
        """Have it not expected, and nothing here of what arrived; a guest that is not `arriving` stays."""
        ...

    async def depart(self, server: ServerId, to: Way, *, hurry: bool, wait_s: float) -> Departure:
        """Have the running guest leave by this way; return when it has, when it cannot, or after `wait_s`.

        It is on its way until one of the former is said: the next call goes on waiting for it, and after `stay`, or a
        failure, begins anew. With `hurry` it stands still until then. A cancelled call has it stay. It has left, once
        and for all, only where the hypervisor knows that all of it has arrived and that it did not go on here since.
        """
        ...

    async def stay(self, server: ServerId) -> bool:
        """Have the guest not be on its way, nor stand still for that; says whether it had left already."""
        ...

    async def take_in(self, guest: Guest, arrived: int) -> FoundGuest:
        """Have the guest running as `start`, but going on where it stood if incarnation `arrived` is here, arrived."""
        ...

    async def snapshot(self, server: ServerId, disks: LocalDisks, image: ImageId) -> int:
        """Have a copy of the root disk here, as it is at one moment, in one qcow2 file; returns its size in bytes.

        It is kept under the image's name: when it is there already, it is not made anew. A guest that runs, stands
        still or has its memory saved is left so, on the disks it has. `Refused` without a root disk; `NotNow` when
        the guest went off in the middle. A cancelled call, or one that failed, leaves no half of a copy that counts.
        """
        ...

    def read_snapshot(self, server: ServerId, image: ImageId) -> AsyncGenerator[bytes]:
        """Give the copy's bytes, in pieces of at most 1 MiB. `Refused` when there is none."""
        ...

    async def drop_snapshot(self, server: ServerId, image: ImageId) -> None:
        """Have no copy under this name, and nobody making one. Absent is fine."""
        ...

    async def shut_down(self, server: ServerId, wait_s: float) -> bool:
        """Ask the guest to power off and wait; False when it did not within `wait_s`. True if it is off or absent."""
        ...

    async def kill(self, server: ServerId) -> None:
        """Have the guest off now, by force; the definition and disks stay. Absent is fine."""
        ...

    async def undefine(self, server: ServerId) -> None:
        """Forget the definition of a guest that is off. Absent is fine."""
        ...

    async def drop_disks(self, server: ServerId, keep: int | None, up_to: int | None = None) -> bool:
        """Delete the server's disks here, except the generation `keep` and what its guest needs beside.

        With `up_to`, nothing is touched when an incarnation above it owns them: they were moved to another host
        that shares the directory. Returns whether they are gone. Refused where the guest runs on any of them; where
        there are disks but none of `keep`: then it is not known which one matters; and as `DiskLocked` when a guest
        on whichever host has one open: it is all that keeps two from running.
        """
        ...

    async def set_aside(self, server: ServerId, up_to: int) -> bool:
        """Move the server's disks here out of the way, all together; they are kept until `drop_asides`.

        Nothing is touched when an incarnation above `up_to` owns them. Returns whether they are out of the way;
        absent is fine. Refused for a running guest.
        """
        ...

    async def drop_images(self, in_use: Collection[CachedImage], grace_s: float) -> list[str]:
        """Delete cached images that are not in use, not below any disk here, and were not wanted within `grace_s`.

        The directory may be shared: `in_use` names the images of the servers of all hosts that share it. Returns the
        names of what is deleted.
        """
        ...

    async def asides(self) -> list[Aside]:
        """List what was set aside here, the oldest first."""
        ...

    async def drop_asides(self, older_than_s: float) -> list[Aside]:
        """Delete for good what was set aside longer ago than that, and return what it was."""
        ...

    async def attach_volume(self, server: ServerId, disk: VolumeDisk) -> None:
        """Have the running guest have this volume; one that is off gets it with its next definition.

        Refused when the guest has the volume by another attachment, no place for it, or cannot open it.
        """
        ...

    async def detach_volume(self, server: ServerId, volume: VolumeId, wait_s: float) -> bool:
        """Ask the running guest to let go of the volume, and wait; False when it did not within `wait_s`.

        True when it does not have it: then nothing of this host writes the volume any more.
        """
        ...

    async def attach_nic(self, server: ServerId, nic: Nic) -> None:
        """Have the running guest have this nic, whose bridge is ready; as `attach_volume`."""
        ...

    async def detach_nic(self, server: ServerId, port: PortId, mac: str, wait_s: float) -> bool:
        """Ask the running guest to let go of the nic, and wait; as `detach_volume`."""
        ...

    async def owner(self, server: ServerId) -> int | None:
        """Return the incarnation that owns the server's disks here; None without disks."""
        ...

    async def console(self, server: ServerId, limit: int = 102400) -> bytes:
        """Return the last `limit` bytes the guest wrote to its serial console; empty if it never wrote.

        A guest on disks of another generation begins a console of its own.
        """
        ...
