"""A controller put together: its parts joined, begun, served and ended. `main` and `simulation` choose the parts.

It opens no port: the API (`api.app`) and the agents' listener (`hosts.listener`) are put in front of it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from renova.engine.executor import Executor
from renova.engine.journal import Held
from renova.engine.runner import Runner
from renova.ha.alarms import Alarms
from renova.ha.draining import Drainer
from renova.ha.monitor import Monitor
from renova.ha.recovery import Recoverer
from renova.ha.replication import watch_replication
from renova.ha.restarting import Restarter
from renova.ha.sightings import Sightings
from renova.hosts.agents import Agents
from renova.hosts.connections import Connections
from renova.hosts.registry import Hosts
from renova.hosts.witnessing import Witnessing
from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.model.errors import NotNow
from renova.model.guest import GuestChanged
from renova.model.ids import ExecutorId, HostId
from renova.operations.cloud import Cloud
from renova.operations.duties.everything import every_duty
from renova.operations.health import Health
from renova.operations.inheriting import inherit
from renova.operations.parts.fleet import Fleet
from renova.operations.parts.notify import watch_states
from renova.operations.report import as_found, take_report, to_look_at
from renova.operations.resume import resume_servers
from renova.operations.rounds import Rounds
from renova.operations.stories import STORIES
from renova.operations.work import Work
from renova.partners.identity import Identity
from renova.partners.image import Images
from renova.partners.network import Networks
from renova.partners.notifications import Sink
from renova.partners.notifications.outbox import Limits, Outbox
from renova.partners.volume import StorageAgents, StorageHosts, Volumes
from renova.power import Power
from renova.settings import ControllerSettings
from renova.store import cluster
from renova.store.database import Database, Tx
from renova.store.executors import Controller as ControllerRow
from renova.store.journal import StoredJournal
from renova.witness import Witness

log = structlog.get_logger()

TRY_AGAIN_S = 1.0
Duty = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a controller is made of; each real or simulated."""

    settings: ControllerSettings
    clock: Clock
    chance: Chance
    database: Database
    identity: Identity
    images: Images
    networks: Networks
    volumes: Callable[[StorageHosts, StorageAgents], Volumes]  # made by the controller: only it reaches storage hosts
    power: Power
    witness: Witness | None = None  # where revoked leases are shown to guards; None: there is none
    sink: Sink | None = None  # who is told what happens
    endures: bool = True  # a duty that fails unforeseen begins anew; False: it ends all, and is seen
    executor: Executor | None = None  # this run of it
    api_address: str = ""  # this controller's own, host:port
    release: str = ""


class Controller:
    """One run of a controller."""

    def __init__(self, parts: Parts) -> None:
        me = parts.executor or Executor(ExecutorId(parts.chance.uuid()))
        settings = parts.settings
        witnessing = None if parts.witness is None else Witnessing(parts.witness, parts.clock, parts.chance)
        hosts = Hosts(database=parts.database, clock=parts.clock, times=settings.lease, me=me, witnessing=witnessing)
        agents = Agents(hosts, parts.database, parts.clock, me, settings.extra_peers)
        self.connections = Connections(
            hosts,
            agents,
            database=parts.database,
            clock=parts.clock,
            chance=parts.chance,
            read_image=parts.images.read,
            times=settings.lease,
            hang_after=settings.recovery.hang_after,
            me=me,
        )
        described = ControllerRow(settings.name, parts.api_address, settings.agents_reach, parts.release)
        journal = StoredJournal(parts.database, described)
        self.runner: Runner[Work, Tx] = Runner(
            executor=me,
            context=self._work,
            journal=journal,
            stories=STORIES,
            clock=parts.clock,
            chance=parts.chance,
        )
        self.cloud = Cloud(
            settings=parts.settings,
            clock=parts.clock,
            chance=parts.chance,
            database=parts.database,
            hosts=hosts,
            agents=agents,
            identity=parts.identity,
            images=parts.images,
            networks=parts.networks,
            volumes=parts.volumes(hosts, agents),
            operations=self.runner,
            fleet=Fleet(parts.clock, hosts.up, lambda: parts.database.standing),
            rounds=Rounds(
                parts.clock, every_duty(lambda: self.cloud, settings.duties), parts.database, me, settings.name
            ),
            notices=_outbox(parts, me),
            health=Health(parts.clock, me),
            power=parts.power,
            witness=parts.witness,
        )
        watch_states(self.cloud)
        self.monitor = Monitor(self.cloud)
        self.sightings = Sightings(self.cloud, lambda: self.monitor.silent)
        self.recoverer = Recoverer(self.cloud, me)
        self.restarter = Restarter(self.cloud, me)
        self.drainer = Drainer(self.cloud, me)
        self.alarms = Alarms(self.cloud, me, self.monitor)
        hosts.on_change = self.cloud.fleet.stale
        hosts.on_report = self._report
        hosts.on_up = self._resume
        hosts.seek_proof = self.monitor.seek
        hosts.vouch = self.monitor.vouch
        hosts.sighted = self.sightings.sees
        self._changes: set[asyncio.Task[None]] = set()
        self._endures = parts.endures

    def _work(self, held: Held) -> Work:
        return Work(self.cloud, held, self.cloud.agents.era)

    async def _report(self, host: HostId, changes: tuple[GuestChanged, ...]) -> None:
        """Follow what a host reports; what was begun is ended, though the connection may end meanwhile."""
        task = asyncio.get_running_loop().create_task(self._follow(host, changes))
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # the host tells it again
        await asyncio.shield(task)

    async def _follow(self, host: HostId, changes: tuple[GuestChanged, ...]) -> None:
        seen = await self.cloud.database.read(lambda tx: to_look_at(tx, host, changes))
        now = as_found(changes, await self.cloud.agents.guests(host)) if seen else changes
        await self.cloud.database.transact(partial(take_report, self.cloud, host=host, changes=now, seen=seen))

    def _resume(self, host: HostId) -> None:
        """Resume the host's servers; nobody waits for that."""
        task = asyncio.get_running_loop().create_task(self._resume_servers(host))
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)

    async def _resume_servers(self, host: HostId) -> None:
        while True:
            try:
                await self.cloud.database.transact(partial(resume_servers, self.cloud, host_id=host))
            except NotNow:
                log.warning("servers not resumed yet", exc_info=True)
            except Exception:
                log.error("servers not resumed", exc_info=True)
                return
            else:
                return
            await self.cloud.clock.sleep(TRY_AGAIN_S)

    def end_soon(self) -> None:
        """Have the health check say that this controller is ending; all else goes on."""
        assert self.cloud.health is not None
        self.cloud.health.ending = True

    async def resign(self) -> None:
        """Give operations and posts away at once, when all else has ended; others take them over."""
        try:
            await self.runner.resign()
        except NotNow:
            log.warning("operations wait until others take this controller for dead", exc_info=True)

    async def serve(self, *, alone: bool) -> None:
        """Run operations and watch hosts until cancelled. `alone`: the database's lock shuts other controllers out.

        What it is not told by `resign` is taken over only when its lease has lapsed, as if it had died.
        """
        await self.runner.enlist(alone=alone)
        await self._know_the_era()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.runner.serve(), name="operations")
                for name, duty in self._duties().items():
                    group.create_task(self._lasting(name, duty) if self._endures else duty(), name=name)
        finally:
            await self.runner.close()

    async def _know_the_era(self) -> None:
        """Go by the cluster's era before anything is told: what was begun in another is told anew."""
        while True:
            try:
                return self.cloud.agents.follow(await self.cloud.database.read(cluster.get))
            except NotNow:
                log.warning("the cluster's era is not known yet", exc_info=True)
            await self.cloud.clock.sleep(TRY_AGAIN_S)

    def _duties(self) -> dict[str, Duty]:
        """Return what is done for as long as the controller lives, by name."""
        duties: dict[str, Duty] = {
            "monitor": self.monitor.serve,
            "sightings": self.sightings.serve,
            "recovery": self.recoverer.serve,
            "restarts": self.restarter.serve,
            "drains": self.drainer.serve,
            "alarms": self.alarms.serve,
            "volumes": self.cloud.volumes.serve,
            "inheriting": partial(inherit, self.cloud),
            "replication": partial(watch_replication, self.cloud),
        }
        if self.cloud.rounds is not None:
            duties["duties"] = self.cloud.rounds.serve
        if self.cloud.notices is not None:
            duties["notices"] = self.cloud.notices.serve
        return duties

    async def _lasting(self, name: str, duty: Duty) -> None:
        """Do the duty; begin it anew where it fails of what nobody has foreseen (decision 0037)."""
        while True:
            try:
                return await duty()
            except Exception:
                self.cloud.measures.note_failure(name)
                log.error("duty failed, and begins anew", duty=name, exc_info=True)
            await self.cloud.clock.sleep(TRY_AGAIN_S)


def _outbox(parts: Parts, me: Executor) -> Outbox | None:
    if parts.sink is None:
        return None
    settings = parts.settings
    limits = Limits(settings.notification_hours * 3600, settings.notification_count)
    return Outbox(parts.database, parts.clock, parts.chance, me, parts.sink, settings.url, limits)
