"""Migrate a server between two hosts that live, with its memory: its guest goes on there where it stood here.

Submitted by `api.compute` and by who drains hosts. The guest's memory is copied while it runs. It arrives standing
still, and what arrived is not the destination's to let go on (docs/decisions/0035). The source says when all of it is
there and the guest here has ended for good: with that it has released the server, and nobody may run it. The
destination is then granted the server, its ports are bound to it, and it lets the guest go on. So there is one right
at any moment, as in a cold migration, and the guest stands still for two commits and two commands.

Until the source has released it nothing is lost by whatever fails: the guest stays, and what arrived is turned away.
After that a guest that cannot go on at the destination is booted where it was. Only servers whose disks both hosts
share, and that have no volumes, go this way: a volume is served to one host at a time.
"""

from collections.abc import Sequence
from functools import partial

import msgspec
import structlog
from msgspec.structs import replace

from renova.engine.journal import Elsewhere
from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.errors import Conflict, Invalid, NotNow, OnHold, Refused, Stale, whole
from renova.model.guest import Departure, PowerState, Way
from renova.model.host import Host, Right
from renova.model.ids import HostId, ServerId
from renova.model.local_disks import disks_of, has_any
from renova.model.server import AttachedNetwork, Server, TaskState
from renova.operations.cloud import Cloud
from renova.operations.parts import run_guest
from renova.operations.parts.bind_ports import bind_ports
from renova.operations.parts.claim import Claim, claim, hold_room
from renova.operations.parts.guest import current_guest
from renova.operations.parts.moving import (
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
from renova.operations.stop import FOREVER
from renova.operations.submission import Asked, Submission, submit
from renova.operations.work import Work
from renova.scheduling.request import Request
from renova.store import actions, block_devices, hosts, migrations, servers, steps
from renova.store.database import Tx
from renova.store.migrations import LIVE, Migration, Wish
from renova.store.placement import claims
from renova.wire.acts import Depart, Expect, Stay
from renova.wire.results import Departing, Expected

log = structlog.get_logger()

_ASKED = {Wish.ABORT: "instance.live_migration_abort", Wish.COMPLETE: "instance.live_migration_force_complete"}

LOOK_S = 1.0  # seconds between looks at how far a guest is, and at what is wanted of it meanwhile


class MigrateLive(msgspec.Struct, frozen=True):
    """What the story needs beside the server's row."""

    source: HostId
    source_storage: str
    migration: int
    host: str | None  # the only destination that will do, by name
    not_on: tuple[HostId, ...]  # hosts that will not do
    forced: bool  # that host though it is disabled, or in another zone
    within_s: float  # for its memory to be copied


class LeavingLive(msgspec.Struct, frozen=True):
    """What is left, by which right, and where room is held."""

    right: Right
    destination: HostId
    name: str


def accept_migrate_live(
    cloud: Cloud,
    tx: Tx,
    asked: Asked,
    server_id: ServerId,
    host: str | None = None,
    not_on: tuple[HostId, ...] = (),
    *,
    forced: bool = False,
) -> None:
    """Begin the move, to `host` where one is named; `forced` though that is disabled, or in another zone."""
    server = permitted(tx, server_id, "os-migrateLive", asked)
    demand_another_host(tx, server, host)
    source = demand_living_source(cloud, tx, server, "os-migrateLive")
    if (reason := why_not_live(tx, server, source)) is not None:
        raise Conflict(f"Instance {server.id} cannot be migrated live: {reason}.")
    take_task(tx, server, "os-migrateLive", TaskState.MIGRATING)
    migration = note_move(cloud, tx, asked, server, source, LIVE, "queued", to=host)
    want = MigrateLive(
        source=source.id,
        source_storage=source.facts.storage_id if source.facts else "",
        migration=migration,
        host=host,
        not_on=not_on,
        forced=forced,
        within_s=cloud.settings.live_migration_wait * max(server.flavor.memory_mb / 1024, 1.0),
    )
    submit(tx, cloud.operations, asked, server.id, Submission(MIGRATE_LIVE, "live-migration", want))


def why_not_live(tx: Tx, server: Server, source: Host) -> str | None:
    """Say why the server's guest, which runs, could leave its host only by being stopped; None where it need not."""
    if source.facts is None or not source.facts.capabilities.live_migration:
        return "guests do not leave its host with their memory"
    if block_devices.volumes_of(tx, server.id):
        return "it has volumes, which are served to one host at a time; migrate it cold"
    if not has_any(disks_of(server)) or not source.facts.storage_id:
        return "it has no disk that hosts share; migrate it cold"
    return None


def wish_of_migration(cloud: Cloud, tx: Tx, migration: Migration, wanted: Wish, while_it_is: Sequence[str]) -> None:
    """Note what is wanted of a guest that is on its way: its step looks for it. `Invalid` for one in other states."""
    if migration.type != LIVE or not migrations.wish(tx, migration.id, wanted, while_it_is):
        raise Invalid(
            f"Migration {migration.id} of instance {migration.server} is {migration.type}, {migration.status}: only "
            f"live migrations that are {' or '.join(while_it_is)} can be completed by force, or aborted."
        )
    # Both of the asking, as in Nova: what comes of it is told when it comes.
    notify(cloud, tx, migration.server, f"{_ASKED[wanted]}.start")
    notify(cloud, tx, migration.server, f"{_ASKED[wanted]}.end")


async def migrate_live(run: Run, want: MigrateLive) -> None:
    leaving = await run(hold_destination, want)
    way = await run(expect_guest, want, leaving)
    await run(move_memory, want, leaving, way)
    await run(leave_source, want, leaving)
    taken = await run(claim_destination, want, leaving)
    networks = await run(bind_ports, taken.name)
    power = await run(go_on_there, want, leaving, taken)
    await run(clear_source, want, leaving)
    await run(move_server, want, taken, networks, power)


@write()
def hold_destination(work: Work, tx: Tx, want: MigrateLive) -> LeavingLive:
    """Hold what the server needs of the best host that shares its disks, beside what it holds of its own."""
    server = work.server_now(tx)
    source = hosts.get(tx, want.source)
    if source is not None and (reason := why_not_live(tx, server, source)) is not None:
        raise Conflict(f"Instance {server.id} cannot be migrated live: {reason}.")  # what was under way has changed it
    right = right_to_leave(work, tx, want.source)
    chosen = hold_room(work, tx, server, _request(work, tx, server, want))
    actions.open_event(tx, work.held.action, "compute_live_migration", server.host_name)
    note_destination(tx, want.migration, "preparing", chosen.id, chosen.name)
    notify(work.cloud, tx, server.id, "instance.live_migration_pre.start", host=chosen.name)
    return LeavingLive(right, chosen.id, chosen.name)


@hold_destination.undo
async def stay(work: Work, want: MigrateLive) -> None:
    """Hold nothing elsewhere any more, and follow what the guest has done meanwhile: its reports did not count."""
    await stay_at_home(work, want.source)


@act()
async def expect_guest(work: Work, want: MigrateLive, leaving: LeavingLive) -> Way:
    """Have the destination ready for the guest: nics plugged, the way open, nothing of it there."""
    guest = await current_guest(work, leaving.right.incarnation)
    lean = replace(guest, personal=replace(guest.personal, user_data=None, files=()))
    result = await work.command(leaving.destination, leaving.right.incarnation, Expect(guest=lean, source=want.source))
    assert isinstance(result, Expected)
    return replace(result.way, host=leaving.destination)  # whoever answers there: no other host


@expect_guest.undo
async def turn_away(work: Work, want: MigrateLive, leaving: LeavingLive) -> None:
    """Have nothing of the guest at the destination, where it stands still; it goes on at home by now, or is off."""
    await run_guest.turn_away(work, leaving.destination, leaving.right.incarnation)


@act(patience=FOREVER)
async def move_memory(work: Work, want: MigrateLive, leaving: LeavingLive, way: Way) -> None:
    """Have all that the guest is at the destination, and ended at the source; `Refused` when it cannot be.

    The source is waited for, however long it is away: only it knows whether the guest has left. If it dies, the
    server is evacuated.
    """
    until = work.cloud.clock.monotonic() + want.within_s
    departure = Departure(under_way=True)
    while departure.under_way:
        wish = await work.note(partial(_note, work.cloud, want=want, seen=departure))
        given_up = None
        if wish is Wish.ABORT:
            given_up = "the migration was aborted"
        elif work.cloud.clock.monotonic() > until:
            given_up = f"its memory changed faster than it could be copied within {want.within_s:g} seconds"
        if given_up is not None:
            if await _has_left(work, want, leaving, way):
                return  # too late: its memory is nowhere else any more
            raise Refused(given_up)
        depart = Depart(to=way, wait_s=LOOK_S, hurry=wish is Wish.COMPLETE)
        result = await work.command(want.source, leaving.right.incarnation, depart)
        assert isinstance(result, Departing)
        departure = result.departure
    if not departure.left:
        raise Refused("the guest stays on its host: its way to the other one has failed", details=departure.reason)


async def _has_left(work: Work, want: MigrateLive, leaving: LeavingLive, way: Way) -> bool:
    """Have the guest go on at the source, unless it has left for certain: then the source has released it.

    The source is waited for here: told anew from its start, the step would send the guest away again, for as long.
    """
    while True:
        try:
            result = await work.command(want.source, leaving.right.incarnation, Stay())
            break
        except Stale:
            # It may have given the incarnation up with an answer that nobody has heard; of leaving it says so still.
            result = await work.command(want.source, leaving.right.incarnation, Depart(to=way, wait_s=0))
            break
        except (OnHold, Elsewhere):
            raise
        except NotNow as away:
            log.info("guest not called back yet", reason=whole(away))
        await work.cloud.clock.sleep(LOOK_S)
    assert isinstance(result, Departing)
    return result.departure.left


@move_memory.undo
async def keep_here(work: Work, want: MigrateLive, leaving: LeavingLive, way: Way) -> None:
    """Have the guest go on at the source; one that had left already is booted there, as after a crash."""
    here = await work.cloud.database.read(lambda tx: right_at(tx, work.held.server, want.source))
    if here == leaving.right:
        try:
            result = await work.command(want.source, leaving.right.incarnation, Stay())
            assert isinstance(result, Departing)
            left = result.departure.left
        except Stale:
            left = True  # it gave the incarnation up with the answer that it had, which nobody has heard
        if left:
            await _boot_here(work, want, leaving.right)


@write()
def leave_source(work: Work, tx: Tx, want: MigrateLive, leaving: LeavingLive) -> None:
    """Note that nobody may run the server: the source has given the incarnation up."""
    release_former(tx, work.held.server, leaving.right)
    notify(work.cloud, tx, work.held.server, "instance.live_migration_post.start")


@leave_source.undo
async def take_source_again(work: Work, want: MigrateLive, leaving: LeavingLive) -> None:
    """Have the source granted the server anew, and its guest booted there.

    Not while the destination may run it: that is waited for, for a while. If it neither confirms its stop nor is proven
    dead meanwhile, the server stays nobody's until then, and is resumed here.
    """
    await _boot_here(work, want, leaving.right)


async def _boot_here(work: Work, want: MigrateLive, former: Right) -> None:
    server = work.held.server
    await work.note(lambda tx: _grant_again(tx, server, want.source, former))
    right = await work.cloud.database.read(lambda tx: right_at(tx, server, want.source))
    if right is not None:
        built = await run_guest.build(work, right.host, right.incarnation, must_exist=True, run=True)
        if built.refused is None:
            await work.note(lambda tx: servers.change(tx, server, power_state=built.power))


def _grant_again(tx: Tx, server: ServerId, source: HostId, former: Right) -> None:
    right = right_at(tx, server, source)
    if right is not None and right.incarnation > former.incarnation:
        return  # it was, before this was told again: the guest may have booted meanwhile, and boots once
    servers.change(tx, server, power_state=PowerState.SHUTDOWN)
    take_again(tx, server, source)


@write()
def claim_destination(work: Work, tx: Tx, want: MigrateLive, leaving: LeavingLive) -> Claim:
    """Grant the destination the server, if it will do still: others of its group may have come there meanwhile."""
    server = work.server_now(tx)
    claims.release(tx, server.id, leaving.destination)
    request = replace(_request(work, tx, server, want), only=leaving.name)
    taken = claim(work, tx, server, request, migration=want.migration)
    note_claimed(tx, want.migration, "post-migrating", taken)
    notify(work.cloud, tx, server.id, "instance.live_migration_post_dest.start", host=taken.name)
    return taken


@claim_destination.undo_write
def release_claim(work: Work, tx: Tx, want: MigrateLive, leaving: LeavingLive) -> None:
    # The step before the guest is brought up: it is written down before that begins, as acts are.
    end_right_elsewhere(work, tx, want.source, built=steps.has_done(tx, work.held, bind_ports.name))


@act()
async def go_on_there(work: Work, want: MigrateLive, leaving: LeavingLive, taken: Claim) -> PowerState:
    """Have the guest go on at the destination; one that was lost there, standing still, boots."""
    return await run_guest.bring_up(work, taken.host, taken.incarnation, arrived=leaving.right.incarnation)


@go_on_there.undo
async def end_there(work: Work, want: MigrateLive, leaving: LeavingLive, taken: Claim) -> None:
    """Have nothing left at the destination; the disks, which it shares with the source, stay."""
    await run_guest.clear(work, taken.host, taken.incarnation, disks=False)


@act()
async def clear_source(work: Work, want: MigrateLive, leaving: LeavingLive) -> None:
    """Have nothing left at the source but the disks, which are the destination's now; if it is away, it owes that."""
    await run_guest.clear(work, want.source, leaving.right.incarnation, disks=False)


@end()
def move_server(
    work: Work, tx: Tx, want: MigrateLive, taken: Claim, networks: tuple[AttachedNetwork, ...], power: PowerState
) -> None:
    """Switch host, zone and migration together."""
    former = work.server_now(tx).host_name
    move_to(work, tx, taken, power_state=power, networks=networks)
    work.cloud.fleet.stale()
    migrations.move(tx, want.migration, migrations.ACTIVE, "completed")
    notify(work.cloud, tx, work.held.server, "instance.live_migration_post_dest.end")
    notify(work.cloud, tx, work.held.server, "instance.live_migration_post.end", host=former)
    actions.close_events(tx, work.held.action)


def settle_migrate_live(work: Work, tx: Tx, want: MigrateLive, failure: Failure) -> None:
    """Leave the server where it was, with the reason. A guest that is off, and should not be, is brought up there."""
    record = migrations.get(tx, want.migration)
    aborted = record is not None and record.wish is Wish.ABORT
    migrations.move(tx, want.migration, migrations.ACTIVE, "cancelled" if aborted else "error")
    leave_where_it_was(work, tx, want.source, failure, runs=True)
    if record is not None and record.destination is not None:  # else nothing was begun that could be rolled back
        for event in ("instance.live_migration_rollback.start", "instance.live_migration_rollback.end"):
            notify(work.cloud, tx, work.held.server, event)


def _request(work: Work, tx: Tx, server: Server, want: MigrateLive) -> Request:
    """Return what the server needs of a destination now."""
    not_on = frozenset((want.source, *want.not_on))
    request = needs(work.cloud, tx, server, leaving=want.source, only=want.host, forced=want.forced, not_on=not_on)
    return replace(request, storage=want.source_storage, live=True)


def _note(cloud: Cloud, tx: Tx, want: MigrateLive, seen: Departure) -> Wish | None:
    """Note how far the guest is; returns what somebody wants of it."""
    before = migrations.get(tx, want.migration)
    if before is not None and before.status == "preparing":  # the first time: this may be told again
        notify(cloud, tx, before.server, "instance.live_migration_pre.end", host=before.destination_name)
    amounts = {"memory_total": seen.total, "memory_processed": seen.processed, "memory_remaining": seen.remaining}
    migrations.move(tx, want.migration, migrations.ACTIVE, "running", **amounts)
    record = migrations.get(tx, want.migration)
    return record.wish if record is not None else None


MIGRATE_LIVE = Story("migrate_live", 1, MigrateLive, migrate_live, settle_migrate_live)
