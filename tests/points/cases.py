"""Every operation, in the situations in which it does different things: what is prepared, and what is asked.

A new story has to be named here: `test_points` demands a case of every story.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from renova.drivers.hypervisor.simulated.storage import SimulatedDisk
from renova.model.errors import Refused
from renova.model.ids import ImageId, NetworkId, ServerId, SnapshotId, VolumeId
from renova.model.server import VmState
from renova.operations.attach_interface import accept_attach_interface
from renova.operations.attach_volume import NewAttachment, accept_attach_volume
from renova.operations.clear_away import accept_clear_away
from renova.operations.create_image import Backup, describe
from renova.operations.delete import accept_delete
from renova.operations.detach_interface import accept_detach_interface
from renova.operations.detach_volume import accept_detach_volume
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.heal_attachments import accept_heal_attachments
from renova.operations.heal_guest import accept_heal_guest
from renova.operations.heal_ports import accept_heal_ports
from renova.operations.migrate import accept_migrate
from renova.operations.migrate_live import accept_migrate_live
from renova.operations.parts.leaves import Leaves
from renova.operations.pause import accept_pause, accept_unpause
from renova.operations.reboot import accept_reboot
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.operations.start import accept_start
from renova.operations.stop import accept_stop
from renova.operations.suspend import accept_resume, accept_suspend
from renova.partners.network import PortWish
from renova.partners.volume.requests import (
    Making,
    begin_snapshot,
    begin_volume,
    delete_snapshot,
    delete_volume,
    extend_volume,
    image_source,
    volume_here,
)
from renova.store import ports, rights, servers, volume_snapshots, volumes
from renova.store.database import Tx
from renova.store.volume_snapshots import StoredSnapshot
from tests.operations.story import PROJECT, USER, an_image
from tests.operations.volumes import a_new_volume, a_volume, attached
from tests.points.asking import Asking

Do = Callable[[Asking], Awaitable[Any]]
OFF, GONE, ERROR = VmState.STOPPED, VmState.DELETED, VmState.ERROR
OTHER_DISK = "another disk of "  # of before or after a rebuild: it goes with the next one, or with the server
COPY = "copies of disks "  # goes with the server
IMAGE = "image "  # is seen, unfinished, and can be deleted
LEFT_BY = {"rebuild": OTHER_DISK, "create-image": COPY, "migrate": COPY}  # what such a story may leave to its server
TILL_DELETED = ("volume ", OTHER_DISK)  # what a server in error may have until it is deleted


async def nothing(_told: Asking) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """An operation in a situation. `ends` is the server's state in the end, undisturbed; `gone` where it is deleted."""

    name: str
    stories: str  # that are told, by name; "" for what is no server's operation
    ready: Do
    ask: Do
    ends: VmState | None = VmState.ACTIVE
    varies: bool = False  # how far something came before it was superseded: its traces differ
    tolerates: tuple[str, ...] = ()  # what it may leave beside what its stories may
    undo: bool = False  # a failure is planted, and everything taken back
    options: dict[str, Any] = field(default_factory=dict)
    dies_with: tuple[str, ...] = ()  # points: the operation may fail of whoever dies at them, as where a fault is final
    by_itself: bool = False  # about what an idle cloud does: with the other cases, such points do not count
    arm_at_once: bool = True  # else what was planted arms the taps: what goes before is another case's

    async def check_end(self, told: Asking) -> None:
        for server in told.servers[:1]:
            found = await told.get(server)
            assert found.vm_state is self.ends, f"{found.vm_state}: {found.fault}"

    async def check_failed(self, told: Asking) -> None:
        """Check what must hold though it may have failed; what could not be made, or not deleted, is deleted then."""
        if {"create", "delete"} & set(self.stories.split()) and (await told.get(one(told))).vm_state is ERROR:
            await told.check(tolerating=(*self.tolerated(), *TILL_DELETED))
            await told.ask(accept_delete, one(told))
            await told.mend()
            assert self.undo or (await told.get(one(told))).deleted, "it cannot be deleted"
        await told.check(tolerating=self.tolerated())

    def tolerated(self) -> tuple[str, ...]:
        """Say with what sentences begin that may be true where it could never be cleared away: its log says so."""
        if self.ends is GONE:
            return self.tolerates
        return (*self.tolerates, *(LEFT_BY[story] for story in self.stories.split() if story in LEFT_BY))


# --- what is prepared ---


def one(told: Asking) -> ServerId:
    return told.servers[0]


def then(*those: Do) -> Do:
    async def do(told: Asking) -> None:
        for each in those:
            await each(told)
            await told.all_done()

    return do


def asking(accept: Callable[..., Any], *arguments: Any, **options: Any) -> Do:
    async def ask(told: Asking) -> None:
        await told.ask(accept, one(told), *arguments, **options)

    return ask


async def server(told: Asking) -> None:
    await told.created()


def server_with(*sources: str, image: bool = True, **values: Any) -> Do:
    """Ask for a server with volumes to be made; the first is what it boots from, unless it is of an image."""

    async def create(told: Asking) -> None:
        devices = []
        for number, source in enumerate(sources):
            more: dict[str, Any] = {} if image or number else {"boot_index": 0}
            if source == "image":
                more |= {"source": "image", "image": an_image("one").id}
            devices.append(a_new_volume(told, **more, **values))
        changes: dict[str, Any] = {} if image else {"image": None}
        await told.create(devices=tuple(devices), **changes)

    return create


async def volume(told: Asking) -> None:
    told.volume = await a_volume(told)


async def with_volume(told: Asking) -> None:
    told.volume = await attached(told, one(told))


async def dead_host(told: Asking) -> None:
    """Have the server's host lose its power, and proven dead."""
    row = await told.get(one(told))
    cloud = told.cloud
    await cloud.cut_power(row.host_name or "")
    await cloud.until(lambda: cloud.is_silent(row.host_name or ""))
    while cloud.controller is None or not await cloud.cloud.hosts.seek_proof(row.host):
        await cloud.clock.sleep(0.5)


async def silent_host(told: Asking) -> None:
    """Have the server's host lose its power, and nobody know more than that it is silent."""
    row = await told.get(one(told))
    await told.cloud.cut_power(row.host_name or "")
    await told.cloud.until(lambda: told.cloud.is_silent(row.host_name or ""))


async def storage_away(told: Asking) -> None:
    await told.cloud.cut_power("storage1")


async def storage_returns(told: Asking) -> None:
    if not told.cloud.storage_hosts["storage1"].powered:
        await told.cloud.power_on("storage1")


async def errored(told: Asking) -> None:
    await told.cloud.database.transact(lambda tx: servers.change(tx, one(told), vm_state=VmState.ERROR))


async def port_elsewhere(told: Asking) -> None:
    def work(tx: Tx) -> None:
        for port in ports.of_server(tx, one(told)):
            ports.change(tx, port.id, host="host2")

    await told.cloud.database.transact(work)


async def half_replaced(told: Asking) -> None:
    """Have a stray attachment of the server's volume, as a crash leaves it."""
    stray = told.cloud.chance.uuid()
    await told.cloud.cloud.volumes.reserve(stray, told.volume, one(told))


LEFT = ImageId("left")


async def superseded(told: Asking) -> None:
    """Have an image that nobody makes any more, and the copy of the disk for it; and the disk of a rebuild."""
    row = await told.get(one(told))
    await told.cloud.images.add(describe(row, None, image=LEFT, name="left", metadata={}, owner=PROJECT))
    storage = told.cloud.hosts[row.host_name or ""].storage
    storage.copies[row.id, LEFT] = b"a copy"
    storage.disks[row.id, row.root_generation + 1] = SimulatedDisk(row.image)


def deaf(told: Asking) -> None:
    for host in told.cloud.hosts.values():
        host.hypervisor.ignoring_acpi.add(one(told))


async def deaf_guest(told: Asking) -> None:
    deaf(told)


async def stuck_reboot(told: Asking) -> None:
    """Have a soft reboot under way that the guest does not heed."""
    deaf(told)
    await told.ask(accept_reboot, one(told), hard=False)
    await told.cloud.clock.sleep(2)


# --- what is asked ---

stopped = asking(accept_stop)
paused = asking(accept_pause)
suspended = asking(accept_suspend)
hard_reboot = asking(accept_reboot, hard=True)
soft_reboot = asking(accept_reboot, hard=False)
delete = asking(accept_delete)
evacuate = asking(accept_evacuate, Evacuation())
migrate = asking(accept_migrate)
migrate_live = asking(accept_migrate_live)
NEW, SAME = (Rebuild(image=an_image(name), admin_pass="secret") for name in ("two", "one"))
rebuild = asking(accept_rebuild, NEW)


async def create(told: Asking) -> None:
    await told.create()


async def make_image(told: Asking) -> None:
    await told.make_image(one(told))


def back_up(rotation: int) -> Do:
    async def ask(told: Asking) -> None:
        await told.make_image(one(told), Backup("daily", rotation))

    return ask


async def attach_volume(told: Asking) -> None:
    await told.ask(accept_attach_volume, one(told), NewAttachment(volume=told.volume))


async def detach_volume(told: Asking) -> None:
    await told.ask(accept_detach_volume, one(told), told.volume)


attach_interface = asking(accept_attach_interface, PortWish(NetworkId("net-1")))


async def detach_interface(told: Asking) -> None:
    (port,) = await told.cloud.networks.ports(one(told))
    await told.ask(accept_detach_interface, one(told), port.id, port.mac)


async def rounds(told: Asking) -> None:
    """Have everything looked over, and a while pass."""
    await told.look_over()
    await told.cloud.clock.sleep(5)


async def power_off_inside(told: Asking) -> None:
    row = await told.get(one(told))
    told.cloud.hosts[row.host_name or ""].hypervisor.power_off_inside(row.id)
    await told.cloud.clock.sleep(1)


async def paid(told: Asking) -> None:
    """Wait until no host has anything to clean up."""
    await told.until_none(rights.debtors)


async def source_returns(told: Asking) -> None:
    for name, host in told.cloud.hosts.items():
        if not host.powered:
            await told.back(name)


def superseding(first: Do, second: Do, after_s: float) -> Do:
    async def ask(told: Asking) -> None:
        await first(told)
        await told.cloud.clock.sleep(after_s)
        await second(told)

    return ask


async def quiet_ones(told: Asking) -> None:
    """Ask for several things that show no task state, and for a reboot behind them."""
    await attach_volume(told)
    await attach_interface(told)
    await hard_reboot(told)


# --- volumes of their own ---


def begun(ask: Callable[[Asking, Tx], Any], status: str, *, image: bool = False) -> Do:
    """Ask something of a volume as `api.volume` does, and wait until its status rests."""

    async def do(told: Asking) -> None:
        def was_begun(tx: Tx) -> bool:
            row = volumes.volume(tx, told.volume)
            return row.status == status if row is not None else status == "deleting"

        await told.until_heard(lambda: told.cloud.cloud.database.transact(lambda tx: ask(told, tx)), was_begun)
        await resting(told)

    return do


async def resting(told: Asking) -> None:
    """Wait until every volume and snapshot is as wanted."""

    def unsettled(tx: Tx) -> bool:
        return bool(volumes.unconfirmed(tx) or volume_snapshots.unconfirmed(tx))

    limit = told.cloud.clock.monotonic() + 600
    while await told.cloud.database.read(unsettled):
        assert told.cloud.clock.monotonic() < limit, "a volume was not settled"
        await told.cloud.clock.sleep(0.2)


def making(told: Asking, **source: Any) -> Making:
    told.volume = VolumeId(told.cloud.chance.uuid())
    return Making(id=told.volume, project=PROJECT, user=USER, name="data", size_gb=1, **source)


async def make_blank(told: Asking) -> None:
    wanted = making(told)
    await begun(lambda told, tx: begin_volume(tx, wanted, told.cloud.cloud.hosts.up), "creating")(told)


async def make_of_image(told: Asking) -> None:
    wanted = making(told, image=await image_source(told.cloud.images, an_image("one").id))
    await begun(lambda told, tx: begin_volume(tx, wanted, told.cloud.cloud.hosts.up), "creating")(told)


async def make_of_volume(told: Asking) -> None:
    wanted = making(told, source=told.volume)
    await begun(lambda told, tx: begin_volume(tx, wanted, told.cloud.cloud.hosts.up), "creating")(told)


async def make_of_snapshot(told: Asking) -> None:
    wanted = making(told, snapshot=SNAPSHOT)
    await begun(lambda told, tx: begin_volume(tx, wanted, told.cloud.cloud.hosts.up), "creating")(told)


SNAPSHOT = SnapshotId("00000000-0000-4000-8000-000000000001")


def take(told: Asking, tx: Tx) -> None:
    row = volume_here(tx, told.volume)
    new = StoredSnapshot(
        id=SNAPSHOT,
        volume=row.id,
        project=PROJECT,
        user=USER,
        name="kept",
        size_gb=row.size_gb,
        host=row.host,
        created_at=tx.now,
        updated_at=tx.now,
    )
    begin_snapshot(tx, new, force=False)


async def take_snapshot(told: Asking) -> None:
    def is_there(tx: Tx) -> bool:
        return volume_snapshots.snapshot(tx, SNAPSHOT) is not None

    await told.until_heard(lambda: told.cloud.cloud.database.transact(lambda tx: take(told, tx)), is_there)
    await resting(told)


async def drop_snapshot(told: Asking) -> None:
    def drop(tx: Tx) -> None:
        row = volume_snapshots.snapshot(tx, SNAPSHOT)
        assert row is not None
        delete_snapshot(tx, row)

    def is_begun(tx: Tx) -> bool:
        row = volume_snapshots.snapshot(tx, SNAPSHOT)
        return row is None or row.status == "deleting"

    await told.until_heard(lambda: told.cloud.cloud.database.transact(drop), is_begun)
    await resting(told)


extend = begun(lambda told, tx: extend_volume(tx, volume_here(tx, told.volume), 3), "extending")
drop_volume = begun(
    lambda told, tx: delete_volume(tx, volume_here(tx, told.volume), cascade=False, force=False), "deleting"
)


# --- what fails ---


def planting(method: str, *, when: Callable[[Any], bool] = lambda _first: True) -> Do:
    """Have every host that has power refuse such a call; the taps are armed then, for what is taken back."""

    async def plant(told: Asking) -> None:
        for host in told.cloud.hosts.values():
            if host.powered:
                _refuse(told, host.hypervisor, method, when)

    return plant


def _refuse(told: Asking, tapped: Any, method: str, when: Callable[[Any], bool]) -> None:
    part = tapped._part
    really = getattr(part, method)

    async def refuse(first: Any, *arguments: Any, **options: Any) -> Any:
        if not when(first):
            return await really(first, *arguments, **options)
        told.cloud.taps.arm()
        raise Refused("never (planted)")

    setattr(part, method, refuse)


def kept(method: str) -> Do:
    """Have guests get such a device, and hold on to it, though their host says that they could not have it."""

    async def plant(told: Asking) -> None:
        for host in told.cloud.hosts.values():
            _keep(told, host.hypervisor, method)

    return plant


def _keep(told: Asking, tapped: Any, method: str) -> None:
    part = tapped._part
    really = getattr(part, method)

    async def keep(server: ServerId, device: Any) -> None:
        await really(server, device)
        part.holding_on.add(getattr(device, "volume", None) or device.port)
        told.cloud.taps.arm()
        raise Refused("it got it all the same (planted)")

    setattr(part, method, keep)


async def holding_on(told: Asking) -> None:
    """Have guests let go of nothing; the taps are armed when one is asked to."""
    for host in told.cloud.hosts.values():
        host.hypervisor.holding_on.add(told.volume)
        host.hypervisor.holding_on |= {port.id for port in await told.cloud.networks.ports(one(told))}


def of_new_disks(guest: Any) -> bool:
    return bool(guest.disks.generation == 2)


def of_the_first_move(guest: Any) -> bool:
    return bool(guest.incarnation == 2)


async def images_refuse(told: Asking) -> None:
    tapped: Any = told.cloud.images
    part = tapped._part
    really = part.write

    async def write(image: Any, pieces: Any) -> None:
        async for _ in pieces:
            told.cloud.taps.arm()
            raise Refused("the image service takes no such image (planted)")
        await really(image, pieces)

    part.write = write


LOCAL = {"shared": False}
UNDO: dict[str, Any] = {"undo": True, "arm_at_once": False}


def _cases() -> list[Case]:
    booted = server_with("image", image=False)
    data = then(server, with_volume)
    return [
        Case("what goes on by itself", "", server, rounds, by_itself=True),
        Case("create", "create", nothing, create),
        Case("create with volumes", "create", nothing, server_with("blank", "blank")),
        Case("create from a volume of an image", "create", nothing, booted),
        Case("delete", "delete", server, delete, GONE),
        Case("delete a stopped server", "delete", then(server, stopped), delete, GONE),
        Case("delete a suspended server", "delete", then(server, suspended), delete, GONE),
        Case("delete a server in error", "delete", then(server, errored), delete, GONE),
        Case("delete a server with a volume", "delete", data, delete, GONE),
        Case(
            "delete a server with a volume of its own",
            "delete",
            server_with("blank", delete_on_termination=True),
            delete,
            GONE,
        ),
        Case("delete while its host is away", "delete", then(data, silent_host), delete, GONE),
        Case("start", "start", then(server, stopped), asking(accept_start)),
        Case("start with a volume", "start", then(data, stopped), asking(accept_start)),
        Case("stop", "stop", server, stopped, OFF),
        Case("stop a deaf guest", "stop", then(server, deaf_guest), stopped, OFF),
        Case("soft reboot", "reboot", server, soft_reboot),
        Case("soft reboot with a volume", "reboot", data, soft_reboot),
        Case("soft reboot of a deaf guest", "reboot", then(server, deaf_guest), soft_reboot),
        Case("hard reboot", "reboot", server, hard_reboot),
        Case("hard reboot of a paused server", "reboot", then(server, paused), hard_reboot),
        Case("hard reboot of a suspended server", "reboot", then(server, suspended), hard_reboot),
        Case("hard reboot with a volume", "reboot", data, hard_reboot),
        Case(
            "hard reboot while its storage is away",
            "reboot",
            then(data, storage_away),
            superseding(hard_reboot, storage_returns, 20),
        ),
        Case("rebuild", "rebuild", server, rebuild),
        Case("rebuild from the same image", "rebuild", server, asking(accept_rebuild, SAME)),
        Case("rebuild a stopped server", "rebuild", then(server, stopped), rebuild, OFF),
        Case("rebuild with a volume", "rebuild", data, rebuild),
        Case(
            "rebuild the volume it boots from",
            "rebuild",
            booted,
            asking(accept_rebuild, msgspec.structs.replace(NEW, reimage=True)),
        ),
        Case("evacuate", "evacuate", then(server, dead_host), evacuate),
        Case("evacuate from local disks", "evacuate", then(server, dead_host), evacuate, options=LOCAL),
        Case("evacuate a stopped server", "evacuate", then(server, stopped, dead_host), evacuate, OFF),
        Case("evacuate with a volume", "evacuate", then(data, dead_host), evacuate),
        Case("evacuate with a volume it boots from", "evacuate", then(booted, dead_host), evacuate),
        Case("migrate", "migrate", server, migrate),
        Case("migrate a stopped server", "migrate", then(server, stopped), migrate, OFF),
        Case("migrate with a volume", "migrate", data, migrate),
        Case("migrate a server of a volume between local disks", "migrate", booted, migrate, options=LOCAL),
        Case("migrate between local disks", "migrate", server, then(migrate, paid), options=LOCAL),
        # The way on which the memory arrives goes through the destination's agent (decision 0035).
        Case("migrate live", "migrate_live", server, migrate_live, dies_with=("host2:send:Answer(Expected):1",)),
        Case("return of the source", "", then(data, dead_host, evacuate), source_returns),
        Case("return of a source of local disks", "", then(server, dead_host, evacuate), source_returns, options=LOCAL),
        Case("return of a host with its servers", "reboot", then(data, silent_host), source_returns),
        Case("return of a host with a paused server", "", then(server, paused, silent_host), source_returns, OFF),
        # If its report is lost, a duty finds it off, and has that written down as a stop.
        Case("a guest powers itself off", "", server, power_off_inside, OFF, varies=True),
        Case("pause", "pause", server, paused, VmState.PAUSED),
        Case("unpause", "unpause", then(server, paused), asking(accept_unpause)),
        Case("suspend", "suspend", server, suspended, VmState.SUSPENDED),
        Case("resume", "resume", then(server, suspended), asking(accept_resume)),
        Case("image of a running server", "create-image", server, make_image),
        Case("image of a suspended server", "create-image", then(server, suspended), make_image, VmState.SUSPENDED),
        Case("backup", "create-image", then(server, back_up(1)), back_up(1)),
        Case("backup of a stopped server", "create-image", then(server, stopped), back_up(1), OFF),
        Case("attach a volume", "attach_volume", then(server, volume), attach_volume),
        Case("attach a volume to a stopped server", "attach_volume", then(server, stopped, volume), attach_volume, OFF),
        Case("detach a volume", "detach_volume", data, detach_volume),
        Case("detach a volume from a stopped server", "detach_volume", then(data, stopped), detach_volume, OFF),
        Case("attach an interface", "attach_interface", server, attach_interface),
        Case(
            "attach an interface to a stopped server", "attach_interface", then(server, stopped), attach_interface, OFF
        ),
        Case("detach an interface", "detach_interface", server, detach_interface),
        Case("heal guest", "heal_guest", server, asking(accept_heal_guest)),
        Case("heal ports", "heal_ports", then(server, port_elsewhere), asking(accept_heal_ports)),
        Case(
            "clear away",
            "clear_away",
            then(server, superseded),
            asking(accept_clear_away, Leaves((LEFT,), other_disks=True)),
            tolerates=(OTHER_DISK, COPY, IMAGE),
        ),
        Case("heal attachments", "heal_attachments", then(data, half_replaced), asking(accept_heal_attachments)),
        # One takes the place of another.
        Case("hard reboot over a stuck one", "reboot", server, superseding(stuck_reboot, hard_reboot, 0), varies=True),
        Case("delete over a rebuild", "rebuild delete", data, superseding(rebuild, delete, 0.03), GONE, varies=True),
        Case("delete over a create", "create delete", nothing, superseding(create, delete, 0.03), GONE, varies=True),
        Case(
            "delete over an image",
            "create-image delete",
            server,
            superseding(make_image, delete, 0.012),
            GONE,
            tolerates=(IMAGE,),
            varies=True,
        ),
        Case(
            "evacuate over a rebuild",
            "rebuild evacuate",
            server,
            superseding(superseding(rebuild, dead_host, 0.02), evacuate, 0),
            varies=True,
        ),
        Case(
            "evacuate over an attachment",
            "attach_volume evacuate",
            then(server, volume),
            superseding(superseding(attach_volume, dead_host, 0.005), evacuate, 0),
            varies=True,
        ),
        Case(
            "evacuate over an image",
            "create-image evacuate",
            server,
            superseding(superseding(make_image, dead_host, 0.012), evacuate, 0),
            varies=True,
        ),
        Case(
            "evacuate over a migration",
            "migrate evacuate",
            server,
            superseding(superseding(migrate, dead_host, 0.005), evacuate, 0),
            varies=True,
        ),
        Case("delete over a migration", "migrate delete", data, superseding(migrate, delete, 0.02), GONE, varies=True),
        Case(
            "evacuate over a live migration",
            "migrate_live evacuate",
            server,
            superseding(superseding(migrate_live, dead_host, 1), evacuate, 0),
            varies=True,
        ),
        Case(
            "delete over a live migration",
            "migrate_live delete",
            server,
            superseding(migrate_live, delete, 1),
            GONE,
            varies=True,
        ),
        Case("one behind the other", "attach_volume attach_interface reboot", then(server, volume), quiet_ones),
        # Volumes of their own.
        Case("make a volume", "", nothing, make_blank),
        Case("make a volume of an image", "", nothing, make_of_image),
        Case("copy a volume", "", volume, make_of_volume),
        Case("make a volume of a snapshot", "", then(volume, take_snapshot), make_of_snapshot),
        Case("take a snapshot of a volume", "", volume, take_snapshot),
        Case("delete a snapshot of a volume", "", then(volume, take_snapshot), drop_snapshot),
        Case("extend a volume", "", volume, extend),
        Case("delete a volume", "", volume, drop_volume),
        # Everything is taken back.
        Case("undo create", "create", planting("start"), server_with("blank", "blank"), ERROR, **UNDO),
        Case("undo rebuild", "rebuild", then(data, planting("start", when=of_new_disks)), rebuild, **UNDO),
        Case(
            "undo rebuild of a stopped server",
            "rebuild",
            then(data, stopped, planting("define", when=of_new_disks)),
            rebuild,
            OFF,
            **UNDO,
        ),
        Case(
            "undo rebuild of the volume it boots from",
            "rebuild",
            then(booted, planting("start")),
            asking(accept_rebuild, msgspec.structs.replace(NEW, reimage=True)),
            ERROR,
            **UNDO,
        ),
        Case("undo evacuate", "evacuate", then(data, dead_host, planting("start")), evacuate, **UNDO),
        Case(
            "undo evacuate a stopped server",
            "evacuate",
            then(data, stopped, dead_host, planting("define")),
            evacuate,
            OFF,
            **UNDO,
        ),
        Case(
            "undo evacuate from local disks",
            "evacuate",
            then(server, dead_host, planting("start")),
            evacuate,
            options=LOCAL,
            **UNDO,
        ),
        Case("undo migrate", "migrate", then(data, planting("start", when=of_the_first_move)), migrate, **UNDO),
        Case(
            "undo migrate between local disks",
            "migrate",
            then(server, planting("start", when=of_the_first_move)),
            migrate,
            options=LOCAL,
            varies=True,  # a destination that was away for a moment sets the disk that it got aside
            **UNDO,
        ),
        Case("undo migrate live", "migrate_live", then(server, planting("depart")), migrate_live, **UNDO),
        Case(
            "undo migrate live when its memory has left",
            "migrate_live",
            then(server, planting("take_in")),
            migrate_live,
            **UNDO,
        ),
        Case(
            "undo migrate a stopped server",
            "migrate",
            then(data, stopped, planting("define", when=of_the_first_move)),
            migrate,
            OFF,
            **UNDO,
        ),
        Case(
            "undo delete over an image",
            "create-image delete",
            then(server, planting("undefine")),
            superseding(make_image, delete, 0.012),
            ERROR,
            tolerates=(IMAGE,),
            varies=True,
            **UNDO,
        ),
        Case(
            "undo evacuate over an image",
            "create-image evacuate clear_away",
            server,
            superseding(superseding(make_image, superseding(dead_host, planting("start"), 0), 0.012), evacuate, 0),
            tolerates=(IMAGE,),
            varies=True,
            **UNDO,
        ),
        Case("undo image", "create-image", then(server, images_refuse), make_image, tolerates=(IMAGE,), **UNDO),
        Case(
            "undo attach a volume",
            "attach_volume",
            then(server, volume, planting("attach_volume")),
            attach_volume,
            **UNDO,
        ),
        Case(
            "undo attach a volume that is kept",
            "attach_volume",
            then(server, volume, kept("attach_volume")),
            attach_volume,
            **UNDO,
        ),
        Case(
            "undo attach an interface that is kept",
            "attach_interface",
            then(server, kept("attach_nic")),
            attach_interface,
            **UNDO,
        ),
        Case("undo detach a volume", "detach_volume", then(data, holding_on), detach_volume, undo=True),
        Case(
            "undo attach an interface",
            "attach_interface",
            then(server, planting("attach_nic")),
            attach_interface,
            **UNDO,
        ),
        Case("undo detach an interface", "detach_interface", then(server, holding_on), detach_interface, undo=True),
    ]


CASES = {case.name: case for case in _cases()}
