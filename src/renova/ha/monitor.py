"""Looks at the hosts' leases again and again, and proves the death of silent hosts where it can be proven.

Never acts on a silence it did not observe itself. A proof is written only if the lease is still exactly as it was
when the evidence was gathered: a host that renewed meanwhile is alive.
"""

import asyncio
from dataclasses import dataclass, field

import structlog

from renova.ha.decide import Next, Watched, decide
from renova.hosts import eras
from renova.hosts.leases import Silence
from renova.model.channel import Closed
from renova.model.errors import Conflict, NotFound, NotNow
from renova.model.host import Host, HostState, ProofKind
from renova.model.ids import HostId
from renova.operations.cloud import Cloud
from renova.operations.leave_as_found import leave_as_found
from renova.power import Power, Reading
from renova.store import cluster, executors, rights
from renova.store import hosts as host_rows
from renova.store.cluster import Cluster
from renova.store.database import Tx

log = structlog.get_logger()

LOOK = 1.0  # seconds between looks
TICK = 5.0  # seconds between counts
REMIND = 10.0  # seconds between reminders of the same host
BETWEEN_READINGS = 1.0  # seconds: a single reading of "off" may be a machine that is being reset


@dataclass(slots=True)
class Monitor:
    """One controller's watch."""

    cloud: Cloud
    power: Power
    _alive: dict[HostId, bool] = field(default_factory=dict)
    _reminded: dict[HostId, float] = field(default_factory=dict)
    _seeking: set[HostId] = field(default_factory=set)  # whose proofs are being sought
    _tick: int = 0  # the highest count that this controller saw committed
    _era: int = 0  # in which that was
    _reached: tuple[int, bool] = (0, False)  # the newest era seen, and whether its hold had ended
    _ticked: float = float("-inf")

    async def serve(self) -> None:
        """Watch until cancelled. A power controller that is slow to answer holds up only its own host's proof."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    for host, silence in await self._look_around():
                        if host.id not in self._seeking:
                            self._seeking.add(host.id)
                            group.create_task(self._seek_apart(host, silence), name=f"proof-{host.name}")
                except NotNow:
                    log.warning("hosts not watched", exc_info=True)
                await self.cloud.clock.sleep(LOOK)

    async def look(self) -> None:
        """Look once, and seek the proofs of all that are silent."""
        # Together: a rack's worth of silent hosts must not be proven dead one after the other.
        await asyncio.gather(*(self.consider(host, silence) for host, silence in await self._look_around()))

    async def _seek_apart(self, host: Host, silence: Silence) -> None:
        try:
            await self.consider(host, silence)
        except NotNow:
            log.warning("host not watched", host=host.name, exc_info=True)
        finally:
            self._seeking.discard(host.id)

    async def _look_around(self) -> list[tuple[Host, Silence]]:
        """Follow the cluster and its hosts; returns those that are silent."""
        if not await self._follow_cluster():
            return []
        began = self.cloud.clock.monotonic()
        silences = {silence.lease.host: silence for silence in await self.cloud.hosts.leases.look()}
        hosts = await self.cloud.database.read(host_rows.every)
        self.cloud.agents.learn(hosts, await self.cloud.database.read(executors.agents_addresses), began)
        await self._call_in_debts()
        silent = []
        for host in hosts:
            self._note_change(host)
            if (silence := silences.get(host.id)) is not None:
                silent.append((host, silence))
        return silent

    async def _follow_cluster(self) -> bool:
        """Go by era and hold; False while the database is known to have lost commits: then nobody is judged by it."""
        standing = await self._count()
        if standing.restoring:
            standing = await self.cloud.database.transact(self._try_end)
        self._reached = max(self._reached, _reached(standing))
        self.cloud.agents.follow(standing)
        return standing.hold is None or standing.restoring

    def _try_end(self, tx: Tx) -> Cluster:
        """End the hold if nothing is waited for; what rests on what the database knew wrongly ends with it."""
        for each in eras.try_end(tx) or ():
            leave_as_found(self.cloud, tx, each)
        return cluster.get(tx)

    async def _count(self) -> Cluster:
        """Count on in the database, now and then, and put the cluster on hold if it has fallen behind the count."""
        standing = await self.cloud.database.read(cluster.get)
        # An unbroken history never goes back from where an era's hold has ended.
        if _reached(standing) < self._reached and (standing.hold is None or standing.restoring):
            era = self._reached[0]
            lost = f"this controller has seen era {era} go on, the database is at the beginning of era {standing.era}"
            await self.cloud.database.transact(lambda tx: eras.hold(tx, lost, era))
            return await self.cloud.database.read(cluster.get)
        if standing.restoring or standing.era > self._era:
            # The operator has said that this is the database to go on with, maybe while this controller was away.
            self._tick, self._era = standing.tick, standing.era
        elif standing.hold is None and standing.tick < self._tick:
            lost = f"this controller has counted to {self._tick}, the database to {standing.tick}"
            await self.cloud.database.transact(lambda tx: eras.hold(tx, lost))
            return await self.cloud.database.read(cluster.get)
        now = self.cloud.clock.monotonic()
        if standing.hold is None and now - self._ticked >= TICK:
            self._ticked = now
            # After the commit: only what is certain to have been there can be missed.
            self._tick = await self.cloud.database.transact(cluster.tick)
        return standing

    async def _call_in_debts(self) -> None:
        """Remind hosts that are here of what they owe: they were away, or their connection broke, when it came up."""
        now = self.cloud.clock.monotonic()
        for host in await self.cloud.database.read(rights.debtors):
            if self.cloud.agents.connected(host) and now - self._reminded.get(host, -REMIND) >= REMIND:
                self._reminded[host] = now
                try:
                    await self.cloud.agents.call_in_debts(host)
                except Closed:
                    continue  # it hears of them in its next welcome

    def _note_change(self, host: Host) -> None:
        alive = self.cloud.hosts.leases.alive(host.id)
        if self._alive.get(host.id) != alive:
            log.info("host is heard" if alive else "host is silent", host=host.name)
            self._alive[host.id] = alive
            self.cloud.fleet.stale()

    async def consider(self, host: Host, silence: Silence) -> bool:
        """Seek the proof that fits the host's silence; True when it is now proven dead."""
        times = self.cloud.settings.lease
        watched = Watched(
            state=host.state,
            forced_down=host.forced_down,
            silent_s=self.cloud.clock.monotonic() - silence.since,
            suspect_after_s=times.suspect_after,
            lapsed_after_s=silence.lease.ttl + silence.lease.margin,
            accepted=self.cloud.settings.accepted_proofs,
            heartbeat_age_s=self.cloud.settings.heartbeat_age,
            power_barred=host.power_barred is not None,
        )
        readings = {"silent_s": f"{watched.silent_s:.1f}", "counter": str(silence.lease.counter)}
        match decide(watched):
            case Next.NOTHING:
                return False
            case Next.TAKE_WORD:
                who = f"{host.forced_down_by or 'operator'} (service forced down)"
                return await self._prove(host, silence, ProofKind.OPERATOR, readings, who)
            case Next.TAKE_AGE:
                return await self._prove(host, silence, ProofKind.HEARTBEAT_AGE, readings, "setting accepted_proofs")
            case Next.READ_POWER:
                for number in (1, 2):
                    if await self.power.read(host.id, host.name) is not Reading.OFF:
                        return False
                    readings[f"reading_{number}"] = "off"
                    if number == 1:
                        await self.cloud.clock.sleep(BETWEEN_READINGS)
                return await self._prove(host, silence, ProofKind.POWER_OFF, readings, "power switch")

    async def seek(self, host: HostId) -> bool:
        """Seek a proof now, for somebody who waits for it; True when the host is proven dead."""
        row = await self.cloud.database.read(lambda tx: host_rows.get(tx, host))
        silence = self.cloud.hosts.leases.silence(host)
        if row is not None and silence is not None:
            await self.consider(row, silence)
        # Whoever wrote it: a look that had begun before may have been first.
        return await self.cloud.database.read(lambda tx: host_rows.proof(tx, host)) is not None

    async def vouch(self, host: HostId, who: str, at_once: bool) -> None:
        """Take somebody's word that the host is off. `Conflict` says why it is not taken.

        Not while the host renews its lease; nor, unless `at_once`, before the lease has lapsed.
        """
        row = await self.cloud.database.read(lambda tx: host_rows.get(tx, host))
        if row is None:
            raise NotFound("There is no such host.")
        if ProofKind.OPERATOR not in self.cloud.settings.accepted_proofs:
            raise Conflict("Nobody's word counts here: setting accepted_proofs does not have 'operator'.")
        silence = self.cloud.hosts.leases.silence(host)
        if silence is None:
            return await self._vouch_unseen(row, who)
        if self.cloud.hosts.leases.alive(host):
            raise Conflict(
                f"Host {row.name} still renews its lease, so its guests may run: it is not believed dead. Switch it "
                "off first; or have it stop a server by `openstack server stop`, which it confirms."
            )
        silent_s = self.cloud.clock.monotonic() - silence.since
        left = silence.lease.ttl + silence.lease.margin - silent_s
        if left > 0 and not at_once:
            raise Conflict(
                f"The lease of host {row.name} lapses in {left:.0f} s; say it again then. If you are sure that the "
                "host is off, say --now."
            )
        readings = {"silent_s": f"{silent_s:.1f}", "at_once": "yes" if at_once else "no"}
        if row.state is HostState.DEAD or await self._prove(row, silence, ProofKind.OPERATOR, readings, who):
            return None
        raise Conflict(f"Host {row.name} was heard just now, or the cluster is on hold (`renova status`).")

    async def _vouch_unseen(self, host: Host, who: str) -> None:
        """Take the word for a host that never had a lease in what the database knows."""

        def work(tx: Tx) -> None:
            host_rows.note_proof(tx, host.id, ProofKind.OPERATOR, 0, {"lease": "none known"}, who)
            host_rows.change(tx, host.id, era=cluster.get(tx).era)

        if host.state is not HostState.ENROLLED:
            raise NotNow("this controller has just begun, and has not looked at the hosts yet")
        await self.cloud.database.transact(work)

    async def _prove(self, host: Host, silence: Silence, kind: str, readings: dict[str, str], who: str) -> bool:
        def work(tx: Tx) -> bool:
            return host_rows.prove_dead(tx, silence.lease, kind, readings, who)

        proven = await self.cloud.database.transact(work)
        if proven:
            log.warning("host proven dead", host=host.name, proof=kind, **readings)
            self.cloud.fleet.stale()
            await self.cloud.agents.fence(host.id)
        return proven


def _reached(standing: Cluster) -> tuple[int, bool]:
    """Return how far the cluster has come: its era, and whether the hold with which it began has ended."""
    return standing.era, not standing.restoring
