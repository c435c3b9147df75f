"""Migrate a server between two hosts that live, cold: its guest is off here before it is brought up there.

Submitted by `api.compute` and by who drains hosts. Room is held at the destination first: a move that finds none stops
nothing. Then the source ends its guest and burns the incarnation, confirms that, and nobody may run the server until
the destination is granted it (docs/decisions/0032). Hosts that share the server's disks are taken before others; to one
that does not, a root disk is carried (`carry_disk`), and what the source has of it is set aside there. Host, zone and
migration switch in the transaction that ends the move; until then the server lives where it was, and goes back there
when anything fails.

It is confirmed by itself: the flavor is the same, so there is nothing that a user could verify and revert.
"""

import msgspec
from msgspec.structs import replace

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.errors import Conflict, Refused
from renova.model.guest import PowerState
from renova.model.host import Right
from renova.model.ids import HostId, ImageId, ServerId
from renova.model.local_disks import disks_of, has_any
from renova.model.server import AttachedNetwork, Server, TaskState, VmState
from renova.operations.carry_disk import Carried, describe_carried, forget_carried, take_carried
from renova.operations.cloud import Cloud
from renova.operations.create_image import CreateImage, copy_root, upload_copy
from renova.operations.parts import run_guest, volumes
from renova.operations.parts.bind_ports import bind_ports
from renova.operations.parts.claim import Claim, claim, hold_room
from renova.operations.parts.moving import (
    COLD,
    demand_another_host,
    demand_living_source,
    end_right_elsewhere,
    leave_where_it_was,
    move_to,
    note_claimed,
    note_destination,
    note_move,
    release_former,
    right_at,
    right_to_leave,
    stay_at_home,
    take_again,
)
from renova.operations.parts.needs import needs
from renova.operations.parts.notify import notify
from renova.operations.parts.permits import permitted, take_task
from renova.operations.submission import Asked, Submission, submit
from renova.operations.work import Work
from renova.scheduling.request import Request
from renova.store import actions, hosts, migrations, rights, servers, steps
from renova.store.database import Tx
from renova.store.placement import claims
from renova.wire.acts import Remove


class MigrateServer(msgspec.Struct, frozen=True):
    """What the story needs beside the server's row."""

    source: HostId
    source_storage: str
    migration: int
    host: str | None  # the only destination that will do, by name
    not_on: tuple[HostId, ...]  # hosts that will not do
    runs: bool  # its guest runs, and is to run in the end
    has_disks: bool  # of its host's; without any, all that is on a host is made of what the database knows
    wait_s: float  # for the guest to shut down before it is forced
    unfinished_images: tuple[ImageId, ...] = ()  # that a root disk may be carried as; none: it cannot be


class Leaving(msgspec.Struct, frozen=True):
    """What is left, by which right, and where room is held."""

    right: Right
    destination: HostId
    name: str
    carried_as: ImageId | None = None  # the root disk, for a destination that does not share it


def accept_migrate(
    cloud: Cloud,
    tx: Tx,
    asked: Asked,
    server_id: ServerId,
    host: str | None = None,
    not_on: tuple[HostId, ...] = (),
) -> None:
    """Begin the move, to `host` where one is named."""
    server = permitted(tx, server_id, "migrate", asked)
    demand_another_host(tx, server, host)
    source = demand_living_source(cloud, tx, server, "migrate")
    take_task(tx, server, "migrate", TaskState.RESIZE_PREP)
    migration = note_move(cloud, tx, asked, server, source, COLD, "accepted", to=host)
    want = MigrateServer(
        source=source.id,
        source_storage=source.facts.storage_id if source.facts else "",
        migration=migration,
        host=host,
        not_on=not_on,
        runs=server.vm_state is VmState.ACTIVE,
        has_disks=has_any(disks_of(server)),
        wait_s=cloud.settings.shutdown_wait,
        unfinished_images=(ImageId(cloud.chance.uuid()),) if _can_be_carried(server) else (),
    )
    submit(tx, cloud.operations, asked, server.id, Submission(MIGRATE, "migrate", want))


async def migrate_server(run: Run, want: MigrateServer) -> None:
    leaving = await run(hold_destination, want)
    await run(power_off, want, leaving)
    carried = None
    if leaving.carried_as is not None:
        image = CreateImage(leaving.carried_as)
        await run(describe_carried, leaving.carried_as)
        await run(copy_root, image, leaving.right)
        await run(upload_copy, image, leaving.right)
        carried = await run(take_carried, leaving.right, leaving.carried_as)
    await run(leave_source, want, leaving)
    taken = await run(claim_destination, want, leaving)
    networks = await run(bind_ports, taken.name)
    power = await run(bring_up_there, want, taken, carried)
    if leaving.carried_as is not None:
        await run(forget_carried, leaving.carried_as)
    await run(move_server, want, taken, networks, power)


@write()
def hold_destination(work: Work, tx: Tx, want: MigrateServer) -> Leaving:
    """Hold what the server needs of the best host, beside what it holds of its own."""
    server, right = work.server_now(tx), right_to_leave(work, tx, want.source)
    request = _request(work, tx, server, want)
    carried_as = None
    try:
        chosen = hold_room(work, tx, server, request)
    except Conflict:
        if request.storage is None or not want.unfinished_images:
            raise
        chosen = hold_room(work, tx, server, replace(request, storage=None))
        # One that shares them may have come up just now.
        carried_as = None if chosen.storage == want.source_storage else want.unfinished_images[0]
    for event in ("instance.resize_prep.start", "instance.resize_prep.end"):
        notify(work.cloud, tx, server.id, event, host=chosen.name)
    actions.open_event(tx, work.held.action, "compute_resize_instance", server.host_name)
    note_destination(tx, want.migration, "migrating", chosen.id, chosen.name)
    servers.change(tx, server.id, task_state=TaskState.RESIZE_MIGRATING)
    notify(work.cloud, tx, server.id, "instance.resize.start")
    return Leaving(right, chosen.id, chosen.name, carried_as)


@hold_destination.undo
async def stay(work: Work, want: MigrateServer) -> None:
    """Hold nothing elsewhere any more, and follow what the guest has done meanwhile: its reports did not count."""
    await stay_at_home(work, want.source)


@act()
async def power_off(work: Work, want: MigrateServer, leaving: Leaving) -> None:
    """Have the guest off at the source; it is asked first."""
    if want.runs:
        await run_guest.stop(work, want.source, leaving.right.incarnation, want.wait_s)
        await work.note(lambda tx: servers.change(tx, work.held.server, power_state=PowerState.SHUTDOWN))


@power_off.undo
async def bring_up_here(work: Work, want: MigrateServer, leaving: Leaving) -> None:
    """Have the guest at the source as it was; one that was never off is left running."""
    right = await work.cloud.database.read(lambda tx: right_at(tx, work.held.server, want.source))
    if right is not None:
        built = await run_guest.build(work, right.host, right.incarnation, must_exist=want.has_disks, run=want.runs)
        if built.refused is None:
            await work.note(lambda tx: servers.change(tx, work.held.server, power_state=built.power))


@act()
async def leave_source(work: Work, want: MigrateServer, leaving: Leaving) -> None:
    """Have the source confirm that nothing of the server runs there, nor ever will as this incarnation."""
    await work.command(want.source, leaving.right.incarnation, Remove(disks=not want.has_disks))
    await work.note(lambda tx: release_former(tx, work.held.server, leaving.right))


@leave_source.undo
async def take_source_again(work: Work, want: MigrateServer, leaving: Leaving) -> None:
    """Grant the source the server anew, for the number it had may be burnt.

    Not while the destination may run it: that is waited for, for a while. If it neither confirms its stop nor is proven
    dead meanwhile, the server stays nobody's until then, and is resumed here.
    """
    await work.note(lambda tx: take_again(tx, work.held.server, want.source))


@write()
def claim_destination(work: Work, tx: Tx, want: MigrateServer, leaving: Leaving) -> Claim:
    """Grant the destination the server, if it will do still: others of its group may have come there meanwhile."""
    server = work.server_now(tx)
    claims.release(tx, server.id, leaving.destination)
    request = replace(_request(work, tx, server, want), only=leaving.name)
    if leaving.carried_as is not None:
        request = replace(request, storage=None)
    taken = claim(work, tx, server, request, migration=want.migration)
    note_claimed(tx, want.migration, "post-migrating", taken)
    notify(work.cloud, tx, server.id, "instance.resize.end")
    actions.close_events(tx, work.held.action, event="compute_resize_instance")
    actions.open_event(tx, work.held.action, "compute_finish_resize", taken.name)
    servers.change(tx, server.id, task_state=TaskState.RESIZE_FINISH)
    notify(work.cloud, tx, server.id, "instance.resize_finish.start", host=taken.name)
    return taken


@claim_destination.undo_write
def release_claim(work: Work, tx: Tx, want: MigrateServer, leaving: Leaving) -> None:
    # The step before the guest is brought up: it is written down before that begins, as acts are.
    end_right_elsewhere(work, tx, want.source, built=steps.has_done(tx, work.held, bind_ports.name))


@act()
async def bring_up_there(work: Work, want: MigrateServer, taken: Claim, carried: Carried | None) -> PowerState:
    """Have the guest up at the destination, or off as it was, on the disk it has or on what was carried there."""
    await volumes.reconcile(work)
    root = carried.root if carried else None
    must_exist = want.has_disks and root is None
    built = await run_guest.build(work, taken.host, taken.incarnation, must_exist=must_exist, run=want.runs, root=root)
    if built.refused is not None:
        details = built.details or f"host {taken.name}"
        raise Refused(f"the other host could not have the server: {built.refused}", details=details)
    return built.power


@bring_up_there.undo
async def end_there(work: Work, want: MigrateServer, taken: Claim, carried: Carried | None) -> None:
    """Have nothing left at the destination; disks that it shares with the source stay."""
    kept = want.has_disks and taken.storage == want.source_storage
    await run_guest.clear(work, taken.host, taken.incarnation, disks=not kept)
    await volumes.disconnect_others(work, want.source)


@end()
def move_server(
    work: Work,
    tx: Tx,
    want: MigrateServer,
    taken: Claim,
    networks: tuple[AttachedNetwork, ...],
    power: PowerState,
) -> None:
    """Switch host, zone and migration together, and give up what is held of the source."""
    move_to(work, tx, taken, power_state=power, networks=networks)
    if want.has_disks and taken.storage != want.source_storage and hosts.get(tx, want.source) is not None:
        rights.owe(tx, want.source, work.held.server, taken.incarnation)  # sets aside what is left of it there
    if not rights.owes(tx, want.source, work.held.server):
        claims.release(tx, work.held.server, want.source)
    work.cloud.fleet.stale()
    migrations.move(tx, want.migration, migrations.ACTIVE, "confirmed")
    notify(work.cloud, tx, work.held.server, "instance.resize_finish.end")
    actions.close_events(tx, work.held.action)


def settle_migrate(work: Work, tx: Tx, want: MigrateServer, failure: Failure) -> None:
    """Leave the server where it was, with the reason. A guest that is off, and should not be, is brought up there."""
    migrations.move(tx, want.migration, migrations.ACTIVE, "error")
    leave_where_it_was(work, tx, want.source, failure, runs=want.runs)
    notify(work.cloud, tx, work.held.server, "instance.resize.error", failure)


def _request(work: Work, tx: Tx, server: Server, want: MigrateServer) -> Request:
    """Return what the server needs of a destination now."""
    not_on = frozenset((want.source, *want.not_on))
    request = needs(work.cloud, tx, server, leaving=want.source, only=want.host, not_on=not_on)
    return replace(request, storage=want.source_storage if want.has_disks else None)


def _can_be_carried(server: Server) -> bool:
    """Say whether a root disk is all that the server has on its host, but for swap, which is made anew."""
    disks = disks_of(server)
    return disks.root is not None and not disks.ephemerals_gb


MIGRATE = Story("migrate", 1, MigrateServer, migrate_server, settle_migrate)
