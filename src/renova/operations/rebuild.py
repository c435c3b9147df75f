"""Rebuild a server: a fresh root disk, perhaps from another image, on the same host (spec: rebuild).

Identity, ports and claims are not touched. The new disk is a file of its own, made while the old guest still runs:
until the new guest is up, everything can be taken back, and is. A stopped server ends stopped, and never runs.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec
from msgspec.structs import asdict, replace

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.errors import Invalid
from renova.model.guest import LIVES, PersonalFile, PowerState
from renova.model.host import Right
from renova.model.ids import ImageId, ServerId
from renova.model.image import Image
from renova.model.server import KeyPair, Server, TaskState, VmState
from renova.operations.cloud import Cloud
from renova.operations.create import VOLUME_PATIENCE
from renova.operations.parts import run_guest, volumes
from renova.operations.parts.fits_image import fits_image
from renova.operations.parts.leaves import Leaves
from renova.operations.parts.notify import notify
from renova.operations.parts.permits import permitted, take_task
from renova.operations.parts.state import close_failed, fault, get_server
from renova.operations.stop import FOREVER
from renova.operations.submission import Asked, Submission, submit
from renova.operations.work import Work
from renova.store import actions, cluster, operations, personal_files, servers, steps
from renova.store.database import Tx

Metadata: TypeAlias = Mapping[str, str]
S = TypeVar("S", bound=msgspec.Struct)


class Rebuild(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, already found valid; UNSET keeps what the server has."""

    image: Image
    name: str | None = None
    admin_pass: str
    metadata: dict[str, str] | None = None
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    key: KeyPair | msgspec.UnsetType | None = msgspec.UNSET
    user_data: str | msgspec.UnsetType | None = msgspec.UNSET
    hostname: str | None = None
    access_ipv4: str | msgspec.UnsetType | None = msgspec.UNSET
    access_ipv6: str | msgspec.UnsetType | None = msgspec.UNSET
    trusted_certs: tuple[str, ...] | msgspec.UnsetType | None = msgspec.UNSET
    disk_config: str | None = None
    files: tuple[PersonalFile, ...] = ()  # the former ones go with the former disk
    reimage: bool = False  # fill the volume anew, of a server that boots from one


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """What the request changed in the server's row, as it was: put back should the rebuild fail."""

    name: str
    description: str | None
    hostname: str
    image: ImageId | None
    image_properties: dict[str, str]
    image_format: str
    image_bytes: int
    image_sha256: str
    root_generation: int
    metadata: dict[str, str]
    key: KeyPair | None
    user_data: str | None
    access_ipv4: str | None
    access_ipv6: str | None
    trusted_certs: tuple[str, ...] | None
    disk_config: str


class Editable(msgspec.Struct, frozen=True, kw_only=True):
    """What the request has put where others may write meanwhile, too: that is theirs then, and not put back."""

    name: str
    description: str | None
    hostname: str
    metadata: dict[str, str]
    access_ipv4: str | None
    access_ipv6: str | None
    disk_config: str


class RebuildServer(msgspec.Struct, frozen=True):
    """What the story needs beside the server's row, which already says what is wanted."""

    before: Before
    files_before: tuple[PersonalFile, ...]
    vm_state: VmState
    shutdown_wait_s: float
    admin_pass: str
    reimage: ImageId | None = None  # of what to fill the volume anew that the server boots from
    asked: Editable | None = None  # None: of a former release, which put all of it back


def accept_rebuild(cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId, rebuild: Rebuild) -> Server:
    """Begin the rebuild; the server shows at once what it will be."""
    server = permitted(tx, server_id, "rebuild", asked)
    other = rebuild.reimage if server.image is None else rebuild.image.id != server.image
    if other and (reason := fits_image(cloud, tx, server, rebuild.image)) is not None:
        raise Invalid(f"No valid host was found: {reason}.")
    take_task(tx, server, "rebuild", TaskState.REBUILDING)
    before = _part(Before, server)
    files_before = personal_files.of_server(tx, server.id)
    # Not one of a former rebuild's, failed or lost: what is left of its disks would be taken for the new ones.
    generation = max(server.root_generation, server.burnt_generation, cluster.get(tx).floor) + 1
    servers.change(tx, server.id, progress=0, root_generation=generation, **_changes(server, rebuild))
    if rebuild.files != files_before:
        personal_files.put(tx, server.id, rebuild.files)
    filled = rebuild.image.id if rebuild.reimage else None
    wait_s = cloud.settings.shutdown_wait
    now = get_server(tx, server_id)
    want = RebuildServer(
        before, files_before, server.vm_state, wait_s, rebuild.admin_pass, filled, asked=_part(Editable, now)
    )
    submit(tx, cloud.operations, asked, server.id, Submission(REBUILD, "rebuild", want))
    return now


def _changes(server: Server, rebuild: Rebuild) -> dict[str, object]:
    changes: dict[str, object] = {}
    if server.image is not None:
        changes["image"] = rebuild.image.id
        changes["image_format"] = rebuild.image.disk_format or "raw"
        changes["image_bytes"] = rebuild.image.size or 0
        changes["image_sha256"] = rebuild.image.sha256 or ""
    if server.image is not None or rebuild.reimage:
        changes["image_properties"] = rebuild.image.properties
    for name in ("name", "metadata", "hostname", "disk_config"):
        if (value := getattr(rebuild, name)) is not None:
            changes[name] = value
    for name in ("description", "key", "user_data", "access_ipv4", "access_ipv6", "trusted_certs"):
        if (value := getattr(rebuild, name)) is not msgspec.UNSET:
            changes[name] = value
    return changes


def _part(kind: type[S], server: Server) -> S:
    return kind(**{name: getattr(server, name) for name in kind.__struct_fields__})


async def rebuild_server(run: Run, want: RebuildServer) -> None:
    right = await run(begin_rebuild, want)
    await run(prepare_new_disks, want, right)
    await run(note_disks_ready, want)
    await run(stop_old_guest, want, right)
    if want.reimage is not None:
        await run(reimage_boot_volume, want, want.reimage)
    await run(note_spawning, want)
    power = await run(bring_up_new_guest, want, right)
    await run(drop_old_disks, want, right)
    await run(mark_rebuilt, want, power)


@write(patience=FOREVER)
def begin_rebuild(work: Work, tx: Tx, want: RebuildServer) -> Right:
    server = work.server_now(tx)
    actions.open_event(tx, work.held.action, "rebuild_server", server.host_name)
    right = work.right_to_begin(tx, server)
    actions.close_events(tx, work.held.action, event="rebuild_server")
    notify(work.cloud, tx, work.held.server, "instance.rebuild_scheduled")
    actions.open_event(tx, work.held.action, "compute_rebuild_instance", server.host_name)
    notify(work.cloud, tx, server.id, "instance.exists", image=(want.before.image, want.before.image_properties))
    notify(work.cloud, tx, work.held.server, "instance.rebuild.start")
    return right


@act(patience=FOREVER)
async def prepare_new_disks(work: Work, want: RebuildServer, right: Right) -> None:
    """Make the new disks beside the old ones; the old guest is not touched yet."""
    await run_guest.prepare(work, right.host, right.incarnation, want.admin_pass)


@prepare_new_disks.undo
async def restore_old_guest(work: Work, want: RebuildServer, right: Right) -> None:
    """Put the row back, then the guest that is derived from it, on the disks it had; then drop the new ones."""
    await work.note(lambda tx: _put_back(tx, work.held.server, want))
    run = want.vm_state is VmState.ACTIVE and (await work.server()).vm_state is VmState.ACTIVE
    restored = await run_guest.build(work, right.host, right.incarnation, must_exist=True, run=run)
    # One that was never ended is left as it is, though it could not be started now: as while its storage is away.
    if restored.refused is None or await run_guest.power_at(work, right.host) not in LIVES:
        failed = {"vm_state": VmState.ERROR} if restored.refused is not None else {}
        if failed and run:
            await work.cloud.networks.settle(work.held.server, active=False)
        await work.note(lambda tx: servers.change(tx, work.held.server, power_state=restored.power, **failed))
    await run_guest.drop_other_disks(work, right.host, right.incarnation, want.before.root_generation)


@write()
def note_disks_ready(work: Work, tx: Tx, want: RebuildServer) -> None:
    servers.change(tx, work.held.server, task_state=TaskState.REBUILD_BLOCK_DEVICE_MAPPING)


@act(patience=FOREVER)
async def stop_old_guest(work: Work, want: RebuildServer, right: Right) -> None:
    for_good = want.vm_state is VmState.STOPPED
    await run_guest.stop(work, right.host, right.incarnation, want.shutdown_wait_s, for_good=for_good)
    await volumes.renew_all(work, root=want.reimage is not None)


@act(patience=VOLUME_PATIENCE)
async def reimage_boot_volume(work: Work, want: RebuildServer, image: ImageId) -> None:
    """Have the volume that the server boots from, connected nowhere now, hold the image; its former content is lost."""
    await volumes.reimage_root(work, image)


@reimage_boot_volume.undo_write
def note_content_lost(work: Work, tx: Tx, want: RebuildServer, image: ImageId) -> None:
    """Leave the server in ERROR: what it boots from is no longer what it was. Another rebuild mends it."""
    servers.change(tx, work.held.server, vm_state=VmState.ERROR)


@write()
def note_spawning(work: Work, tx: Tx, want: RebuildServer) -> None:
    servers.change(tx, work.held.server, task_state=TaskState.REBUILD_SPAWNING)


@act(patience=FOREVER)
async def bring_up_new_guest(work: Work, want: RebuildServer, right: Right) -> PowerState:
    """Have the new guest up; that of a stopped server is only defined, and never runs."""
    run = want.vm_state is not VmState.STOPPED
    return await run_guest.bring_up(work, right.host, right.incarnation, run=run)


@bring_up_new_guest.undo
async def end_new_guest(work: Work, want: RebuildServer, right: Right) -> None:
    await run_guest.stop(work, right.host, right.incarnation, 0)


@act(patience=FOREVER)
async def drop_old_disks(work: Work, want: RebuildServer, right: Right) -> None:
    """Delete the old disks, now that the new guest is defined."""
    server = await work.server()
    await run_guest.drop_other_disks(work, right.host, right.incarnation, server.root_generation)


@end()
def mark_rebuilt(work: Work, tx: Tx, want: RebuildServer, power: PowerState) -> None:
    stopped = want.vm_state is VmState.STOPPED
    servers.change(
        tx,
        work.held.server,
        vm_state=VmState.STOPPED if stopped else VmState.ACTIVE,
        task_state=None,
        power_state=PowerState.SHUTDOWN if stopped else power,
        launched_at=tx.now,
        config_drive="True",
        fault=None,
    )
    notify(work.cloud, tx, work.held.server, "instance.rebuild.end")
    if stopped:
        # As in Nova, although nothing had to be stopped.
        actions.open_event(tx, work.held.action, "compute_stop_instance", work.server_now(tx).host_name)
    actions.close_events(tx, work.held.action)


def _put_back(tx: Tx, server: ServerId, want: RebuildServer) -> None:
    """Have the row say again what it said before the request; the disks that were to be are given up."""
    row = get_server(tx, server)
    burnt = max(row.root_generation, row.burnt_generation)
    servers.change(tx, server, burnt_generation=burnt, **_as_before(row, want))
    personal_files.put(tx, server, want.files_before)


def _as_before(row: Server, want: RebuildServer) -> dict[str, Any]:
    """Return what the row's columns were before the request, but for what others have written since."""
    values = asdict(want.before)
    if want.asked is None:
        return values
    for name, asked in asdict(want.asked).items():
        now = getattr(row, name)
        if name == "metadata":
            values[name] = _metadata_as_before(values[name], asked, now)
        elif now != asked:
            values[name] = now
    return values


def _metadata_as_before(before: Metadata, asked: Metadata, now: Metadata) -> dict[str, str]:
    """Decide for each key by itself: they are written one by one."""
    keys = {key: (before if now.get(key) == asked.get(key) else now) for key in (*before, *now)}
    return {key: source[key] for key, source in keys.items() if key in source}


def take_back_rebuild(tx: Tx, server: ServerId) -> None:
    """Put the row back if a rebuild is under way whose new guest is not known to have come up.

    For who supersedes it: the old root disk is there for certain, for it is deleted only after that; the new one may
    be none or half of one.
    """
    for want in _not_up(tx, server):
        _put_back(tx, server, want)


def as_before_rebuild(tx: Tx, server: Server) -> Server | None:
    """Return the server as `take_back_rebuild` would put it back; None when there is nothing to take back."""
    return next((replace(server, **_as_before(server, want)) for want in _not_up(tx, server.id)), None)


def _not_up(tx: Tx, server: ServerId) -> list[RebuildServer]:
    """Return what the rebuild wants that is under way and whose new guest is not known to have come up, if any."""
    return [
        msgspec.json.decode(held.want, type=RebuildServer)
        for held in operations.under_way(tx, server)
        if held.story == REBUILD.name and not steps.has_done(tx, held, bring_up_new_guest.name)
    ]


def leaves_other_disks(tx: Tx, server: ServerId) -> bool:
    """Say whether disks beside those that the server's row names may be left if all that is to be done ends here.

    For who supersedes it, where the server lives on: nobody else will delete them.
    """
    return any(
        held.story == REBUILD.name or msgspec.json.decode(held.want, type=Leaves).other_disks
        for held in operations.under_way(tx, server)
    )


def settle_rebuild(work: Work, tx: Tx, want: RebuildServer, failure: Failure) -> None:
    """Leave the server as it was, with the reason; undoing has brought its old guest back, or set ERROR."""
    _put_back(tx, work.held.server, want)
    servers.change(tx, work.held.server, task_state=None, fault=fault(tx, failure))
    notify(work.cloud, tx, work.held.server, "instance.rebuild.error", failure)
    close_failed(tx, work.held.action, failure)


REBUILD = Story("rebuild", 1, RebuildServer, rebuild_server, settle_rebuild)
