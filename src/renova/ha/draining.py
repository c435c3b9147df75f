"""Empties hosts at which somebody is to work: their servers are migrated elsewhere, a few at a time, live or cold.

One controller at a time does it, by its post. All that it goes by is in the database: the wish (`store.drains`), where
the servers are, and what came of the moves since. So whoever holds the post next goes on, and whoever asks how far it
is reads the same. A host that is drained is disabled: nothing new is put there, it is not switched off, and while it is
away its servers are not recovered, for somebody is at work there. It stays so until that is taken back.
"""

from dataclasses import dataclass
from functools import partial

import structlog

from renova.engine.executor import Executor
from renova.ha.again import again_at
from renova.ha.attending import attend
from renova.ha.leaving import Leaver, Stage, whose_turn
from renova.ha.segments import follow_place
from renova.model.errors import Conflict, Refused, whole
from renova.model.host import Host, HostState, Role
from renova.model.server import VmState
from renova.operations import compute_service
from renova.operations.cloud import Cloud
from renova.operations.migrate import accept_migrate
from renova.operations.migrate_live import accept_migrate_live, why_not_live
from renova.operations.parts.permits import demand_state
from renova.operations.parts.state import get_server
from renova.operations.submission import for_owner
from renova.settings import MaintenanceSettings
from renova.store import cluster, drains, hosts, migrations, posts
from renova.store.database import Tx
from renova.store.drains import Drain
from renova.store.migrations import Migration
from renova.store.residents import Resident, residents

log = structlog.get_logger()

POST = "drains"


def begin_drain(cloud: Cloud, tx: Tx, host: Host, who: str, reason: str | None = None) -> None:
    """Have the host be emptied; asking again changes nothing."""
    if host.role is not Role.COMPUTE:
        raise Conflict(f"Host {host.name} holds volumes: no server runs there, and volumes do not move.")
    if drains.get(tx, host.id) is not None:
        return
    if host.state is HostState.DEAD:
        raise Conflict(
            f"Host {host.name} is dead: nothing can leave it, and its servers are to come back elsewhere. Drain it "
            "when it is up again."
        )
    disabled = compute_service.disable(cloud, tx, host, reason or compute_service.DRAINED, who)
    drains.begin(tx, host.id, who, disabled=disabled)
    tx.then(partial(log.info, "host is to be drained", host=host.name, who=who))


def undo_drain(cloud: Cloud, tx: Tx, host: Host) -> None:
    """Have the host be used again, unless it was disabled before, or is to be for its place in a failover segment.

    What is on its way goes on; nothing comes back.
    """
    drain = drains.get(tx, host.id)
    if drain is None:
        raise Conflict(
            f"Host {host.name} is not drained. If it is disabled, `openstack compute service set --enable {host.name} "
            "nova-compute` has it used again."
        )
    drains.end(tx, host.id)
    if drain.disabled and host.disabled:
        compute_service.enable(cloud, tx, host)
        follow_place(cloud, tx, host.name, drain.who)
    tx.then(partial(log.info, "host is not to be drained any more", host=host.name))


def leavers(tx: Tx, drain: Drain, settings: MaintenanceSettings) -> list[Leaver]:
    """Say of each server that is on the host, or on its way there, how far it is with leaving."""
    moves, host = migrations.from_since(tx, drain.host, drain.began_at), hosts.get(tx, drain.host)
    if host is None:
        return []
    return [_leaver(tx, each, host, moves, settings) for each in residents(tx, [drain.host])]


def moved(tx: Tx, drain: Drain) -> int:
    """Count the servers that have left the host since."""
    return sum(
        each.status in ("confirmed", "completed") for each in migrations.from_since(tx, drain.host, drain.began_at)
    )


def _leaver(tx: Tx, resident: Resident, host: Host, moves: list[Migration], settings: MaintenanceSettings) -> Leaver:
    server = resident.server
    mine = [each for each in moves if each.server == server.id]
    known = partial(Leaver, server=server.id, name=server.name)
    for each in mine:
        if each.status in migrations.ACTIVE:
            live = each.type == migrations.LIVE
            return known(stage=Stage.MOVING, destination=each.destination_name, live=live, copied=_copied(each))
    if server.host != host.id:
        return known(stage=Stage.WAITING, busy=True, reason=f"it lives on {server.host_name}")
    if server.task_state is not None:
        return known(stage=Stage.WAITING, busy=True, reason=f"something is being done to it: {server.task_state}")
    try:
        demand_state(server, "migrate")
    except Conflict as error:
        return known(stage=Stage.STAYING, reason=whole(error))
    failed = [each for each in mine if each.status in migrations.FAILED]
    runs = server.vm_state is VmState.ACTIVE  # else there is nothing that a cold migration would end
    live = runs and settings.leave != "cold"
    if live and (reason := why_not_live(tx, server, host)) is not None:
        if settings.leave == "live":
            return known(stage=Stage.STAYING, reason=f"it cannot leave with its memory: {reason}")
        live = False
    if not failed:
        return known(stage=Stage.WAITING, live=live)
    last = failed[-1]
    return known(
        stage=Stage.WAITING,
        live=live and (settings.leave == "live" or last.type != migrations.LIVE),
        attempts=len(failed),
        failed_on=last.destination,
        reason=server.fault.in_full if server.fault else "",
        again_at=again_at(last.updated_at or last.created_at, len(failed), settings.again),
    )


def _copied(move: Migration) -> float | None:
    return (move.memory_processed or 0) / move.memory_total if move.memory_total else None


@dataclass(slots=True)
class Drainer:
    """One controller's part in it."""

    cloud: Cloud
    me: Executor

    async def serve(self) -> None:
        """Drain until cancelled."""
        await attend(self.cloud, self.me, POST, self.look)

    async def look(self) -> None:
        """Have those leave whose turn it is."""
        for drain, turns in await self.cloud.database.read(self._turns):
            for each in turns:
                try:
                    await self.cloud.database.transact(partial(self._begin, drain=drain, leaver=each))
                except Refused as error:  # such as for something else that is being done to the server
                    log.info("server not moved yet", server=each.server, reason=whole(error))

    def _turns(self, tx: Tx) -> list[tuple[Drain, list[Leaver]]]:
        if cluster.get(tx).hold is not None:
            return []
        limits = self.cloud.settings.maintenance
        # Nothing can leave a host that is not heard; and what is dead is evacuated, not moved.
        heard = [drain for drain in drains.every(tx) if self.cloud.hosts.up(drain.host)]
        return [(drain, whose_turn(leavers(tx, drain, limits), limits.at_once, tx.now)) for drain in heard]

    def _begin(self, tx: Tx, drain: Drain, leaver: Leaver) -> None:
        """Have the server migrated in its owner's name; not to where it could not be brought up the last time."""
        if not posts.holds(tx, POST, self.me.id) or drains.get(tx, drain.host) != drain:
            return
        server = get_server(tx, leaver.server)
        if server.host != drain.host:
            return
        asked = for_owner(server, self.cloud.chance)
        not_on = () if leaver.failed_on is None else (leaver.failed_on,)
        accept = accept_migrate_live if leaver.live else accept_migrate
        accept(self.cloud, tx, asked, server.id, not_on=not_on)
        tx.then(partial(log.info, "server leaves", server=server.id, host=server.host_name))
