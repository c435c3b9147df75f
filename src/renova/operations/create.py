"""Create a server: claim a host, give it ports, have its guest built there.

Submitted by `api.compute.servers`; runs in a controller. A host that cannot build the guest gives it back, and
another is tried. When none can, everything taken is given back and the server is left in ERROR with the reason.
"""

from typing import Any

import msgspec

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.aggregate import DEFAULT_ZONE
from renova.model.block_device import BlockDevice
from renova.model.errors import Broken
from renova.model.flavor import Flavor
from renova.model.guest import PersonalFile, PowerState
from renova.model.ids import GroupId, HostId, ServerId
from renova.model.image import Image
from renova.model.server import AttachedNetwork, KeyPair, Server, TaskState, VmState
from renova.operations.cloud import Cloud
from renova.operations.parts import volumes
from renova.operations.parts.claim import Claim, claim, give_claim_back
from renova.operations.parts.devices import add_device
from renova.operations.parts.guest import attached_networks
from renova.operations.parts.needs import needs
from renova.operations.parts.notify import notify
from renova.operations.parts.run_guest import Built, build, clear
from renova.operations.parts.state import close_failed, fault
from renova.operations.submission import Asked, Submission, submit
from renova.operations.work import Work
from renova.partners.network import PortWish
from renova.store import actions, aggregates, block_devices, personal_files, rights, servers, steps
from renova.store.database import Tx
from renova.store.placement import claims

VOLUME_PATIENCE = 1800.0  # seconds; an image that a volume is made of may be large
EVENT = "compute__do_build_and_run_instance"


class NewServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is asked for, already found valid."""

    id: ServerId
    name: str
    description: str | None = None
    hostname: str
    flavor: Flavor
    image: Image | None  # None: it boots from a volume
    image_properties: dict[str, str] = {}  # of a volume that it boots from
    devices: tuple[BlockDevice, ...] = ()  # beside the root disk of an image; without server and device
    key: KeyPair | None = None
    user_data: str | None = None
    metadata: dict[str, str] = {}
    tags: tuple[str, ...] = ()
    wishes: tuple[PortWish, ...] = ()
    availability_zone: str | None = None
    host: str | None = None
    config_drive: str = ""
    security_groups: tuple[str, ...] = ("default",)
    hints: dict[str, Any] = {}
    group: GroupId | None = None
    access_ipv4: str | None = None
    access_ipv6: str | None = None
    admin_pass: str | None = None
    disk_config: str = "MANUAL"
    trusted_certs: tuple[str, ...] | None = None
    files: tuple[PersonalFile, ...] = ()
    reservation: str = ""


class CreateServer(msgspec.Struct, frozen=True):
    """What the story needs beside the server's row."""

    wishes: tuple[PortWish, ...]
    host: str | None
    attempts: int
    admin_pass: str | None
    volumes: bool = False


def accept_create(cloud: Cloud, tx: Tx, asked: Asked, new: NewServer) -> Server:
    """Write the new server and its operation down."""
    servers.add(
        tx,
        Server(
            id=new.id,
            serial=0,
            project=asked.project,
            user=asked.user,
            name=new.name,
            description=new.description,
            hostname=new.hostname,
            vm_state=VmState.BUILDING,
            task_state=TaskState.SCHEDULING,
            power_state=PowerState.NOSTATE,
            availability_zone=new.availability_zone,
            pinned_zone=new.availability_zone,
            flavor=new.flavor,
            **_of_image(new),
            key=new.key,
            user_data=new.user_data,
            metadata=new.metadata,
            tags=new.tags,
            security_groups=new.security_groups,
            scheduler_hints=new.hints,
            group=new.group,
            config_drive=new.config_drive,
            disk_config=new.disk_config,
            trusted_certs=new.trusted_certs,
            access_ipv4=new.access_ipv4,
            access_ipv6=new.access_ipv6,
            reservation=new.reservation,
            created_at=tx.now,
            updated_at=tx.now,
        ),
    )
    if new.files:
        personal_files.put(tx, new.id, new.files)
    for device in new.devices:
        add_device(tx, new.id, device)
    has_volumes = any(device.is_volume for device in new.devices)
    want = CreateServer(new.wishes, new.host, cloud.settings.create_attempts, new.admin_pass, has_volumes)
    submit(tx, cloud.operations, asked, new.id, Submission(CREATE, "create", want))
    server = servers.get(tx, new.id)
    assert server is not None
    return server


def _of_image(new: NewServer) -> dict[str, Any]:
    if new.image is None:
        return {"image": None, "image_properties": new.image_properties, **_NO_IMAGE}
    return {
        "image": new.image.id,
        "image_properties": new.image.properties,
        "image_format": new.image.disk_format or "raw",
        "image_bytes": new.image.size or 0,
        "image_sha256": new.image.sha256 or "",
    }


_NO_IMAGE = {"image_format": "raw", "image_bytes": 0, "image_sha256": ""}


async def create_server(run: Run, want: CreateServer) -> None:
    failed: tuple[HostId, ...] = ()
    last = None
    for _attempt in range(want.attempts):
        taken = await run(claim_host, want, failed, last)
        networks = await run(give_ports, want, taken)
        if want.volumes:
            await run(note_volumes, want)
            await run(have_volumes, want, taken)
        await run(note_spawning, want, networks)
        built = await run(build_guest, want, taken)
        if built.refused is None:
            await run(mark_active, want, built)
            return
        last = built
        failed = (*failed, taken.host)
        await run(give_back, want, taken)
    await run(give_up, want, last)


@write()
def claim_host(work: Work, tx: Tx, want: CreateServer, failed: tuple[HostId, ...], last: Built | None) -> Claim:
    """Choose a host and claim what the server needs of it; hosts that failed already are not tried again."""
    server = work.server_now(tx)
    request = needs(work.cloud, tx, server, only=want.host, not_on=frozenset(failed))
    taken = claim(work, tx, server, request, failed=last)
    actions.open_event(tx, work.held.action, EVENT, taken.name)
    servers.change(
        tx,
        server.id,
        host=taken.host,
        host_name=taken.name,
        availability_zone=aggregates.zone_of(tx, taken.host),
        task_state=TaskState.NETWORKING,
    )
    notify(work.cloud, tx, work.held.server, "instance.create.start")
    return taken


@claim_host.undo_write
def release_claim(work: Work, tx: Tx, want: CreateServer, failed: tuple[HostId, ...], last: Built | None) -> None:
    right = rights.right(tx, work.held.server)
    if right is not None:
        give_claim_back(work, tx, right, built=steps.has_done(tx, work.held, note_spawning.name))


@act()
async def give_ports(work: Work, want: CreateServer, taken: Claim) -> tuple[AttachedNetwork, ...]:
    """Have the server's ports with their addresses, bound to the host before the guest starts there."""
    server = await work.server()
    zone = server.availability_zone or DEFAULT_ZONE
    for index, wish in enumerate(want.wishes):
        port = await work.cloud.networks.give_port(server.id, server.project, index, wish, zone, work.demand_ours)
        await work.cloud.networks.bind(port.id, taken.name, zone)
    return await attached_networks(work)


@give_ports.undo
async def take_ports(work: Work, want: CreateServer, taken: Claim) -> None:
    """Have its ports free again; those of a guest that may run where it was not heard go with the server."""
    if not await work.cloud.database.read(lambda tx: _may_run(tx, work.held.server, taken.host)):
        await work.cloud.networks.take_ports(work.held.server)


def _may_run(tx: Tx, server: ServerId, host: HostId) -> bool:
    return rights.owes(tx, host, server) and rights.ended_by(tx, server, host) is None


@write()
def note_volumes(work: Work, tx: Tx, want: CreateServer) -> None:
    servers.change(tx, work.held.server, task_state=TaskState.BLOCK_DEVICE_MAPPING)


@act(patience=VOLUME_PATIENCE)
async def have_volumes(work: Work, want: CreateServer, taken: Claim) -> None:
    """Have the volumes that are to be made, and all of them reachable from the claimed host."""
    server = await work.server()
    for device in await volumes.volumes(work):
        await volumes.make(work, server, device)
    await volumes.have_reachable(work, taken.host)


@have_volumes.undo
async def give_volumes_back(work: Work, want: CreateServer, taken: Claim) -> None:
    """Have the user's volumes free again, and none left of those that were made."""
    await volumes.release(work, delete=lambda device: device.made)


@write()
def note_spawning(work: Work, tx: Tx, want: CreateServer, networks: tuple[AttachedNetwork, ...]) -> None:
    servers.change(tx, work.held.server, networks=networks, task_state=TaskState.SPAWNING)


@act()
async def build_guest(work: Work, want: CreateServer, taken: Claim) -> Built:
    """Have disks and guest on the claimed host."""
    return await build(work, taken.host, taken.incarnation, want.admin_pass, run=True)


@build_guest.undo
async def clear_guest(work: Work, want: CreateServer, taken: Claim) -> None:
    """Have nothing left there; a host that is away owes it."""
    await clear(work, taken.host, taken.incarnation, disks=True)


@act()
async def give_back(work: Work, want: CreateServer, taken: Claim) -> None:
    """Have nothing left on a host that could not build the guest, and nothing claimed of it."""
    await clear(work, taken.host, taken.incarnation, disks=True)


@write()
def give_up(work: Work, tx: Tx, want: CreateServer, last: Built | None) -> None:
    """Fail with the last host's reason; what is taken is then given back."""
    reason, details = (last.refused, last.details) if last else ("", "")
    raise Broken(f"Exceeded maximum number of retries ({want.attempts}): {reason}", details=details)


@end()
def mark_active(work: Work, tx: Tx, want: CreateServer, built: Built) -> None:
    servers.change(
        tx,
        work.held.server,
        vm_state=VmState.ACTIVE,
        task_state=None,
        power_state=built.power,
        launched_at=tx.now,
        progress=0,
        config_drive="True",
        fault=None,
    )
    notify(work.cloud, tx, work.held.server, "instance.create.end")
    actions.close_events(tx, work.held.action)


def settle_create(work: Work, tx: Tx, want: CreateServer, failure: Failure) -> None:
    """Leave the server in ERROR with the reason; it keeps a host only where something of it may be left."""
    right = rights.right(tx, work.held.server)
    placed = {} if right else {"host": None, "host_name": None}
    if right is None:
        claims.release(tx, work.held.server)
    for device in block_devices.volumes_of(tx, work.held.server):
        if device.attachment is None:  # nothing of the volume was taken: others may have it
            block_devices.remove(tx, device)
    servers.change(
        tx,
        work.held.server,
        vm_state=VmState.ERROR,
        task_state=None,
        networks=(),
        fault=fault(tx, failure),
        **placed,
    )
    notify(work.cloud, tx, work.held.server, "instance.create.error", failure)
    close_failed(tx, work.held.action, failure)


CREATE = Story("create", 1, CreateServer, create_server, settle_create)
