"""Takes the picture that plans are made from: reads servers, where they are and what is wished for them.

Asked by who recovers, in the transaction that decides, and by who rehearses. The hosts come from `operations.parts
.fleet`, like those of claims; what a server needs is made by the very parts that make it for its claim.
"""

from collections.abc import Iterable, Set

from renova.ha.picture import FleetView, GroupView, ServerView
from renova.ha.waves import Limits, StageTimes
from renova.ha.wishes import Policy, Wishes, wishes_for
from renova.model.errors import Conflict
from renova.model.host import HostState
from renova.model.ids import HostId
from renova.model.local_disks import disks_of
from renova.model.place import Place
from renova.model.server import Server, VmState
from renova.operations.cloud import Cloud
from renova.operations.evacuate import evacuated
from renova.operations.parts.needs import hinted, lasting_needs
from renova.operations.parts.permits import demand_state
from renova.scheduling.board import Board
from renova.scheduling.request import Request
from renova.settings import ControllerSettings, RecoverySettings
from renova.store import hosts, server_groups
from renova.store.database import Tx
from renova.store.residents import Resident, residents


async def take_picture(cloud: Cloud, those: Set[HostId] | None) -> FleetView:
    """Take the picture for the death of these hosts (None: of any), to be planned from outside of any transaction."""
    # First the hosts, where claims are made, so that nobody waits for the long part.
    board = await cloud.database.transact(lambda tx: cloud.fleet.board(tx).copy())
    return await cloud.database.read(lambda tx: picture(tx, board, cloud.settings, those))


def picture(tx: Tx, board: Board, settings: ControllerSettings, those: Set[HostId] | None) -> FleetView:
    """Return the picture for the death of these hosts (None: of any), with those that are dead already."""
    rows = {host.id: host for host in hosts.computing(tx)}
    dead = frozenset(host.id for host in rows.values() if host.state is HostState.DEAD)
    cut_off = frozenset(host.id for host in hosts.lost(tx)) - dead
    found = residents(tx, None if those is None else sorted(dead | cut_off | those))
    storage = {host.id: host.facts.storage_id if host.facts else "" for host in rows.values()}
    groups = server_groups.with_places(tx, sorted({each.server.group for each in found if each.server.group}))
    places = {place.server: place for _, members in groups.values() for place in members}
    marks = board.marks
    servers = []
    for each in found:
        apart, near = hinted(tx, each.server, "different_host") or [], hinted(tx, each.server, "same_host")
        places.update((place.server, place) for place in (*apart, *(near or ())))
        request = evacuated(
            lasting_needs(each.server, marks, settings.scheduler),
            each.server,
            storage.get(each.place.host or HostId(""), ""),
            keeping_disks_only=settings.evacuate_keeping_disks_only,
        )
        host = board.view(each.place.host) if each.place.host else None
        wanted = wishes_for(each.server, host, Policy(settings.recovery.default))
        servers.append(_view(each, request, wanted, apart, near))
    return FleetView(
        board,
        tuple(servers),
        dead=dead,
        cut_off=cut_off,
        groups={
            of: GroupView(group, tuple(place.server for place in members)) for of, (group, members) in groups.items()
        },
        places=places,
    )


def limits(settings: RecoverySettings) -> Limits:
    return Limits(at_once=settings.at_once, at_once_per_host=settings.at_once_per_host)


def expected_times(settings: RecoverySettings) -> StageTimes:
    """Return the stages' times as the settings expect them."""
    return StageTimes(
        detect_s=settings.detect,
        prove_s=settings.prove,
        plan_s=settings.plan,
        start_s=settings.start,
        start_anew_s=settings.start_anew,
        up_s=settings.up,
    )


def _view(
    resident: Resident, request: Request, wanted: Wishes, apart: Iterable[Place], near: Iterable[Place] | None
) -> ServerView:
    server = resident.server
    return ServerView(
        id=server.id,
        name=server.name,
        project=server.project,
        place=resident.place,
        request=request,
        wishes=wanted,
        runs=server.vm_state is not VmState.STOPPED,
        refused=_refusal(server),
        local_disks=_local_disks(server),
        group=server.group,
        apart_from=tuple(place.server for place in apart),
        beside=None if near is None else tuple(place.server for place in near),
    )


def _refusal(server: Server) -> str:
    """Say why the server cannot be evacuated in the state that it has; "" if it can."""
    try:
        demand_state(server, "evacuate")
    except Conflict as error:
        return str(error)
    return ""


def _local_disks(server: Server) -> tuple[str, ...]:
    disks = disks_of(server)
    ephemerals = ("ephemeral",) if disks.ephemerals_gb else ()
    return (*(("root",) if disks.root else ()), *ephemerals, *(("swap",) if disks.swap_mb else ()))
