"""Looks at the hosts' leases again and again, and proves the death of silent hosts where it can be proven.

Never acts on a silence it did not observe itself. A proof is written only if the lease is still exactly as it was
when the evidence was gathered: a host that renewed meanwhile is alive.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field

import structlog
from msgspec.structs import replace

from renova.ha import brake, segments
from renova.ha.count import Count
from renova.ha.decide import Next, Watched, decide, is_spared
from renova.ha.fencing import read_off, switch_off
from renova.ha.replication import replication
from renova.ha.revoking import Revoking
from renova.hosts.leases import Silence
from renova.model.errors import Conflict, NotFound, NotNow, Refused, whole
from renova.model.host import Host, HostState, ProofKind, Role
from renova.model.ids import HostId
from renova.operations.cloud import Cloud
from renova.power import HostPower
from renova.store import cluster, executors, rights
from renova.store import hosts as host_rows
from renova.store.database import Tx

log = structlog.get_logger()

LOOK = 1.0  # seconds between looks
REMIND = 10.0  # seconds between reminders of the same host
PROVEN_AFTER = "proven_after_s"  # the reading that says how long the host had been silent then
COUNTER = "counter"  # the reading that says how often its lease had been renewed
ASK_POWER = (Next.READ_POWER, Next.SWITCH_OFF)  # a power controller, which may take long to answer
BY_LEASE = (Next.REVOKE, Next.TAKE_LAPSE, Next.CUT_OFF)  # by what database and witness are good for
FENCE_AGAIN = 10.0  # seconds after a host was switched off in vain; its power is read meanwhile


@dataclass(slots=True)
class Monitor:
    """One controller's watch."""

    cloud: Cloud
    _alive: dict[HostId, bool] = field(default_factory=dict)
    _reminded: dict[HostId, float] = field(default_factory=dict)
    _seeking: set[tuple[HostId, Next]] = field(default_factory=set)  # whose proofs are sought, and by what
    _in_vain: set[HostId] = field(default_factory=set)  # whose lease has ended, and proves nothing as things are
    _fenced: dict[HostId, float] = field(default_factory=dict)  # monotonic, when each was last switched off, or in vain
    _spared: set[HostId] = field(default_factory=set)  # that are left on, for others see that they live
    _silent: frozenset[HostId] = frozenset()  # that should be heard, nobody being at work there
    _dead: frozenset[HostId] = frozenset()  # when it was looked last
    _braked: bool = False
    _held: bool = False
    _count: Count = field(init=False)
    _revoking: Revoking = field(init=False)

    def __post_init__(self) -> None:
        self._count = Count(self.cloud)
        self._revoking = Revoking(self.cloud)

    async def serve(self) -> None:
        """Watch until cancelled. A power controller that is slow to answer holds up no proof but its own."""
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    for host, silence in await self._look_around():
                        if silence.lease.to_show:
                            group.create_task(self._revoking.show(host, silence.lease), name=f"witness-{host.name}")
                        for wanted in self._wanted(host, silence):
                            if (host.id, _by(wanted)) not in self._seeking:
                                self._seeking.add((host.id, _by(wanted)))
                                seek = self._seek_apart(wanted, host, silence)
                                group.create_task(seek, name=f"proof-{host.name}")
                except NotNow:
                    log.warning("hosts not watched", exc_info=True)
                await self.cloud.clock.sleep(LOOK)

    async def look(self) -> None:
        """Look once, and seek the proofs of all that are silent."""
        # Together: a rack's worth of silent hosts must not be proven dead one after the other.
        await asyncio.gather(*(self.consider(host, silence) for host, silence in await self._look_around()))

    async def _seek_apart(self, wanted: Next, host: Host, silence: Silence) -> None:
        try:
            await _endured(self._seek(wanted, host, silence), host)
        finally:
            self._seeking.discard((host.id, _by(wanted)))

    async def _look_around(self) -> list[tuple[Host, Silence]]:
        """Follow the cluster and its hosts; returns those that are silent."""
        if not await self._follow_cluster():
            return []
        began = self.cloud.clock.monotonic()
        await self.cloud.hosts.leases.look()
        hosts = await self.cloud.database.read(host_rows.every)
        self.cloud.agents.learn(hosts, await self.cloud.database.read(executors.agents_addresses), began)
        # Under the epoch of their deaths: no number says that they were welcomed, until they renew.
        for host in hosts:
            if host.id in self._dead and host.state is not HostState.DEAD:
                self.cloud.hosts.leases.returned(host.id)
        self._dead = frozenset(host.id for host in hosts if host.state is HostState.DEAD)
        await self._call_in_debts()
        self._silent = frozenset(host.id for host in hosts if self._is_missed(host))
        silent = []
        for host in hosts:
            self._note_change(host)
            if (silence := self.cloud.hosts.leases.silence(host.id)) is not None:
                silent.append((host, silence))
        return silent

    async def _follow_cluster(self) -> bool:
        """Go by era and hold; False while the database is known to have lost commits: then nobody is judged by it."""
        standing = await self._count.go_on()
        self._braked = standing.brake is not None
        self._held = standing.hold is not None
        self.cloud.agents.follow(standing)
        return standing.hold is None or standing.restoring

    async def _call_in_debts(self) -> None:
        """Remind hosts that are here of what they owe: they were away, or their connection broke, when it came up."""
        now = self.cloud.clock.monotonic()
        for host in await self.cloud.database.read(rights.debtors):
            if self.cloud.agents.connected(host) and now - self._reminded.get(host, -REMIND) >= REMIND:
                self._reminded[host] = now
                self.cloud.agents.call_in_debts(host)

    def _note_change(self, host: Host) -> None:
        alive = self.cloud.hosts.leases.alive(host.id)
        if self._alive.get(host.id) != alive:
            log.info("host is heard" if alive else "host is silent", host=host.name)
            self._alive[host.id] = alive
            self.cloud.fleet.stale()

    async def consider(self, host: Host, silence: Silence, *, fence: bool = True) -> bool:
        """Seek the proof that fits the host's silence; True when it is now proven dead. `fence`: it may be made so."""
        if silence.lease.to_show:
            await self._revoking.show(host, silence.lease)
        for wanted in self._wanted(host, silence, fence=fence):
            if await self._seek(wanted, host, silence):
                return True
        return False

    def _wanted(self, host: Host, silence: Silence, *, fence: bool = True) -> list[Next]:
        """Say what to do about the host's silence now; beside what its lease does not prove, what else may."""
        watched = self._watched(host, silence, fence=fence)
        self._note_spared(host, watched)
        first = decide(watched)
        if first not in BY_LEASE:
            self._in_vain.discard(host.id)
        ways = [first, decide(replace(watched, lease_proves=False))] if host.id in self._in_vain else [first]
        return [each for each in ways if each is not Next.NOTHING]

    async def _lease_proves(self, wanted: Next, host: Host, silence: Silence) -> bool:
        """Say whether the end of the host's lease proves anything, or will once it is revoked, as things are now."""
        # A failover that loses commits could lose the revocation, and the host would renew under its old epoch.
        proves = (await replication(self.cloud)).trouble is None
        if proves and wanted is Next.REVOKE:
            proves = await self._revoking.is_its_witness(host, silence.lease)
        elif proves and silence.lease.to_show:
            proves = await self._revoking.still_shows(host, silence.lease)
        if proves:
            self._in_vain.discard(host.id)
        else:
            self._in_vain.add(host.id)
        return proves

    async def _seek(self, wanted: Next, host: Host, silence: Silence) -> bool:
        silent_s = self.cloud.clock.monotonic() - silence.since
        readings = {"silent_s": f"{silent_s:.1f}", COUNTER: str(silence.lease.counter)}
        match wanted:
            case Next.NOTHING:
                return False
            case Next.TAKE_WORD:
                who = f"{host.forced_down_by or 'operator'} (service forced down)"
                return await self._prove(host, silence, ProofKind.OPERATOR, readings, who)
            case Next.REVOKE | Next.TAKE_LAPSE | Next.CUT_OFF:
                if not await self._lease_proves(wanted, host, silence):
                    return False
                if wanted is Next.REVOKE:
                    await self._revoking.revoke(host, silence.lease, self._silent)
                    return False  # nothing is proven before the witness has shown it for long enough
                if silence.lease.to_show:
                    readings["witness_shows_s"] = f"{self._revoking.shown_for(host, silence.lease) or 0.0:.1f}"
                readings["guard"] = silence.lease.guard
                readings["lapsed_after_s"] = f"{_lapsed_after_s(silence):g}"
                who = f"controller {self.cloud.settings.name}"
                kind = ProofKind.STORAGE_CUT if wanted is Next.CUT_OFF else ProofKind.LEASE_REVOKED
                return await self._prove(host, silence, kind, readings, who)
            case Next.TAKE_AGE:
                return await self._prove(host, silence, ProofKind.HEARTBEAT_AGE, readings, "setting accepted_proofs")
            case Next.READ_POWER | Next.SWITCH_OFF:
                power = await self.cloud.power.of(host.id, host.name)
                if power is None:
                    return False
                if wanted is Next.SWITCH_OFF and power.can_switch:
                    off = await self._switch_off(host, silence, power)
                else:
                    off = await read_off(power, self.cloud.clock)
                if off is None:
                    return False
                who = f"controller {self.cloud.settings.name}, by {power.by}"
                return await self._prove(host, silence, ProofKind.POWER_OFF, readings | off, who)

    def _note_spared(self, host: Host, watched: Watched) -> None:
        """Say once that the host would be switched off, did not others see that it lives."""
        spared = watched.fences and watched.silent_s >= watched.fence_after_s and is_spared(watched)
        if spared and host.id not in self._spared:
            self._spared.add(host.id)
            log.warning("host isolated, and left on", host=host.name, **self.cloud.hosts.sighted(host.id).readings)
        elif not spared:
            self._spared.discard(host.id)

    def _watched(self, host: Host, silence: Silence, *, fence: bool) -> Watched:
        settings = self.cloud.settings
        return Watched(
            state=host.state,
            forced_down=host.forced_down,
            silent_s=self.cloud.clock.monotonic() - silence.since,
            suspect_after_s=settings.lease.suspect_after,
            lapsed_after_s=_lapsed_after_s(silence),
            accepted=settings.accepted_proofs,
            heartbeat_age_s=settings.heartbeat_age,
            power_barred=host.power_barred is not None,
            fences=fence and self._may_fence(host),
            fence_after_s=settings.fence_after,
            seen_alive=self.cloud.hosts.sighted(host.id).alive is True,
            fences_isolated=settings.fence_isolated,
            braked=self._braked,
            guard=silence.lease.guard,
            weak_guard_counts=settings.accept_weak_guard,
            virtual_guard_counts=settings.accept_virtual_guard,
            witnessed=bool(silence.lease.witness),
            revoked=silence.lease.to_show,
            may_be_cut_off=host.role is Role.COMPUTE and not self._held,
            cut_off=silence.lease.cut,
            shown_s=self._revoking.shown_for(host, silence.lease),
        )

    async def _switch_off(self, host: Host, silence: Silence, power: HostPower) -> dict[str, str] | None:
        """Have the host switched off, unless it is heard meanwhile; None when it is not known to be off."""
        if not await self.cloud.database.transact(lambda tx: brake.admits(self.cloud, tx, host.id, self._silent)):
            return None
        self._fenced[host.id] = self.cloud.clock.monotonic()
        log.warning("host to be switched off", host=host.name, by=power.by)
        try:
            return await switch_off(power, self.cloud.clock, lambda: self._still_silent(host, silence))
        except (NotNow, Refused) as error:
            log.error("host not known to be off", host=host.name, by=power.by, reason=whole(error))
            return None
        finally:
            self._fenced[host.id] = self.cloud.clock.monotonic()

    async def _still_silent(self, host: Host, silence: Silence) -> bool:
        """Say whether nothing has changed since the host was found silent, and we are those who may say so."""

        def unchanged(tx: Tx) -> bool:
            row, lease, standing = host_rows.get(tx, host.id), host_rows.lease(tx, host.id), cluster.get(tx)
            if row is None or lease is None or row.state is HostState.DEAD or row.power_barred is not None:
                return False
            if row.disabled:
                return False  # somebody has gone to work there since
            same = (lease.epoch, lease.counter) == (silence.lease.epoch, silence.lease.counter)
            return same and (standing.hold is None or standing.restoring)

        if not await self.cloud.database.read(unchanged):
            return False
        # Last: a controller that stood still, or whose own lease has lapsed, has observed no silence.
        silent_s = self.cloud.hosts.leases.silent_for(host.id)
        if silent_s is None or silent_s < self.cloud.settings.lease.suspect_after:
            return False
        return not is_spared(self._watched(host, silence, fence=True))

    def _may_fence(self, host: Host) -> bool:
        """Say whether the host may be switched off now: it runs guests, nobody is at work there, it is worth a try."""
        settings = self.cloud.settings
        since = self.cloud.clock.monotonic() - self._fenced.get(host.id, -FENCE_AGAIN)
        return settings.fencing and host.role is Role.COMPUTE and not host.disabled and since >= FENCE_AGAIN

    def _is_missed(self, host: Host) -> bool:
        """Say whether the host should be heard, and has not been for as long as makes it suspect."""
        if host.state not in (HostState.UP, HostState.RETURNING) or host.disabled or host.forced_down:
            return False
        silence = self.cloud.hosts.leases.silence(host.id)
        if silence is None or silence.lease.cut:
            return False  # it was condemned, and counts as long as that does
        return self.cloud.clock.monotonic() - silence.since >= self.cloud.settings.lease.suspect_after

    @property
    def silent(self) -> frozenset[HostId]:
        """The hosts that should be heard and are not, nobody being at work there."""
        return self._silent

    async def seek(self, host: HostId) -> bool:
        """Seek a proof now, for somebody who waits for it; True when the host is proven dead."""
        leases = self.cloud.hosts.leases
        # It is shown down from when it was heard last, though we were away, or deaf, for a part of that: no proof yet.
        silent_s = leases.silent_for(host)
        if silent_s is not None and not leases.renews(host):
            await self.cloud.clock.sleep(max(self.cloud.settings.lease.suspect_after - silent_s, 0.0))
        row = await self.cloud.database.read(lambda tx: host_rows.get(tx, host))
        silence = leases.silence(host)
        if row is not None and silence is not None:
            # Who waits is not to wait for a machine to go off: whoever watches sees to that.
            await _endured(self.consider(row, silence, fence=False), row)
        # Whoever wrote it: a look that had begun before may have been first.
        return await self.cloud.database.read(lambda tx: host_rows.proof(tx, host)) is not None

    async def vouch(self, host: HostId, who: str, at_once: bool, *, program: bool = False) -> None:
        """Take somebody's word that the host is off. `Conflict` says why it is not taken; `NotNow`: it is not known.

        Not while the host renews its lease; nor, unless `at_once`, before the lease has lapsed. The brake holds up a
        program's word: it may be cut off as a controller may.
        """
        row = await self.cloud.database.read(lambda tx: host_rows.get(tx, host))
        if row is None:
            raise NotFound("There is no such host.")
        if ProofKind.OPERATOR not in self.cloud.settings.accepted_proofs:
            raise Conflict("Nobody's word counts here: setting accepted_proofs does not have 'operator'.")
        silence = self.cloud.hosts.leases.silence(host)
        if silence is None:
            return await self._vouch_unseen(row, who)
        if self.cloud.hosts.leases.renews(host):
            raise Conflict(
                f"Host {row.name} still renews its lease, so its guests may run: it is not believed dead. Switch it "
                "off first; or have it stop a server by `openstack server stop`, which it confirms."
            )
        silent_s = self.cloud.clock.monotonic() - silence.since
        if row.state is not HostState.DEAD and silent_s < self.cloud.settings.lease.suspect_after:
            raise NotNow(f"this controller has not listened for long enough to know whether host {row.name} renews")
        left = _lapsed_after_s(silence) - silent_s
        if left > 0 and not at_once:
            raise Conflict(
                f"The lease of host {row.name} lapses in {left:.0f} s; say it again then. If you are sure that the "
                "host is off, say --now."
            )
        readings = {"silent_s": f"{silent_s:.1f}", "at_once": "yes" if at_once else "no"}
        if row.state is HostState.DEAD:
            return None
        if await self._prove(row, silence, ProofKind.OPERATOR, readings, who, program=program):
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

    async def _prove(
        self,
        host: Host,
        silence: Silence,
        kind: str,
        readings: dict[str, str],
        who: str,
        *,
        program: bool = False,
    ) -> bool:
        readings = readings | self.cloud.hosts.sighted(host.id).readings
        readings = readings | {PROVEN_AFTER: f"{self.cloud.clock.monotonic() - silence.since:.1f}"}

        def work(tx: Tx) -> bool:
            somebodys_word = kind == ProofKind.OPERATOR and not program
            if not somebodys_word and not brake.admits(self.cloud, tx, host.id, self._silent):
                return False
            if kind == ProofKind.STORAGE_CUT:
                written = host_rows.prove_cut(tx, silence.lease, readings, who)
            else:
                written = host_rows.prove_dead(tx, silence.lease, kind, readings, who)
            if written and not silence.lease.cut:  # else a host in reserve has been called up for it already
                segments.call_up(self.cloud, tx, host)
            return written

        proven = await self.cloud.database.transact(work)
        if proven:
            dead = kind != ProofKind.STORAGE_CUT
            log.warning("host proven dead" if dead else "host cut off", host=host.name, proof=kind, **readings)
            self.cloud.fleet.stale()
            self.cloud.agents.fence(host.id)
        return proven and kind != ProofKind.STORAGE_CUT


def _by(wanted: Next) -> Next:
    """Return the first of those that ask the same: one host is not asked for twice at the same time by one of these."""
    return next((ways[0] for ways in (ASK_POWER, BY_LEASE) if wanted in ways), wanted)


async def _endured(seeking: Awaitable[bool], host: Host) -> None:
    """Seek the proof, and go on whatever comes of that: it keeps no other dead host from its proof."""
    try:
        await seeking
    except NotNow:
        log.warning("host not watched", host=host.name, exc_info=True)
    except Exception:  # the driver's mistake, or ours; it is tried again
        log.error("proof of a host's death failed", host=host.name, exc_info=True)


def _lapsed_after_s(silence: Silence) -> float:
    """Return for how long a host must be silent before an armed guard there has had its guests stopped."""
    return silence.lease.ttl + silence.lease.margin
