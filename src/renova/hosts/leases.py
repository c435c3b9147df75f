"""The hosts' leases, at the controllers' end: renewing them in batches, and watching for silence.

A renewal is acknowledged only after the commit that counted it. Silence is measured on this controller's own
monotonic clock from when it last *read* a change, anew after its start, whenever its connection to the database was
lost or the database failed over, and when it could not renew its own lease or those of hosts: it may have stood still,
or nobody could be heard. A controller that was away declares nobody dead (docs/decisions/0004).
"""

import asyncio
import dataclasses
import math
from dataclasses import dataclass
from typing import TypeAlias

import structlog
from msgspec.structs import replace

from renova.engine.executor import Executor
from renova.hosts import eras
from renova.hosts.clocks import Clocks
from renova.hosts.witnessing import Witnessing
from renova.model.clock import Clock
from renova.model.host import GuardClass, HostState, Lease
from renova.model.ids import HostId
from renova.settings import LeaseTimes, outlasts
from renova.store import cluster
from renova.store import hosts as host_rows
from renova.store.database import Database, Tx
from renova.wire.leases import Fenced, Renew, Renewed
from renova.witness import LeaseName

log = structlog.get_logger()

TRAILING = 3  # a host that has not heard of so many of its renewals does not count as alive: it cannot hear us
MOST_LOST = 1_000_000_000  # renewals that a database can have lost: decades of them
GATHER = 0.01  # seconds for which renewals are gathered into one commit
NOTE_SEEN = 10.0  # seconds between notes for people of when a host was heard


_Waiting: TypeAlias = "tuple[HostId, Renew, asyncio.Future[Renewed | Fenced | None]]"


@dataclass(slots=True)
class Silence:
    """What was last read of a host's lease, and when."""

    lease: Lease
    since: float  # monotonic; anew also when nobody knows what was missed
    heard: bool  # whether it changed since this controller started to look
    heard_at: float = -math.inf  # monotonic, when it was last seen to change
    agent_at: float = -math.inf  # monotonic, when it was last known to have an agent that calls a controller home


def _heard(lease: Lease, now: float, before: Silence | None = None) -> Silence:
    agent_at = now if lease.home else before.agent_at if before is not None else -math.inf
    return Silence(lease, now, heard=True, heard_at=now, agent_at=agent_at)


class Leases:
    """Renews leases, and knows how long each host has been silent."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        times: LeaseTimes,
        me: Executor,
        witnessing: Witnessing | None = None,  # None: this controller has no witness
    ) -> None:
        self._me = me  # who renews
        self._witnessing = witnessing
        self._database = database
        self._clock = clock
        self.times = times
        self._silences: dict[HostId, Silence] = {}
        self._waiting: list[_Waiting] = []
        self._gathering: asyncio.Task[None] | None = None
        self._noted: dict[HostId, float] = {}
        self._began = clock.monotonic()
        self._standing = database.standing
        self._clocks = Clocks(times.drift)
        self._deaf_at = -math.inf  # monotonic, when renewals were heard last that could not be committed

    async def renew(self, host: HostId, renewal: Renew) -> Renewed | Fenced | None:
        """Renew the host's lease; None when the database gave no answer: silence, which moves no deadline."""
        future: asyncio.Future[Renewed | Fenced | None] = asyncio.get_running_loop().create_future()
        self._clocks.told(host, renewal.boot, renewal.clock, self._clock.monotonic())
        self._waiting.append((host, renewal, future))
        if self._gathering is None or self._gathering.done():
            self._gathering = asyncio.get_running_loop().create_task(self._gather())
        return await future

    async def _gather(self) -> None:
        while self._waiting:  # those that come during a commit are in the next one
            await self._clock.sleep(GATHER)
            batch, self._waiting = self._waiting, []
            await self._renew_all(batch)

    async def _renew_all(self, batch: "list[_Waiting]") -> None:
        batch.sort(key=lambda entry: entry[0])
        now = self._clock.monotonic()
        noting = {host for host, _, _ in batch if now - self._noted.get(host, -NOTE_SEEN) >= NOTE_SEEN}

        def work(tx: Tx) -> list[Renewed | Fenced]:
            era = cluster.get(tx).era
            return [self._renew(tx, era, host, renewal, note=host in noting) for host, renewal, _ in batch]

        try:
            answers: list[Renewed | Fenced | None] = list(await self._database.transact(work))
        except Exception:  # whatever it was: nothing is known to be committed
            log.error("leases not renewed", hosts=len(batch), exc_info=True)
            answers = [None] * len(batch)
            self._deaf_at = self._clock.monotonic()
        else:
            self._noted.update(dict.fromkeys(noting, now))
        for (host, renewal, future), answer in zip(batch, answers, strict=True):
            if isinstance(answer, Renewed) and answer.nonce:
                self._hear(host, answer, self._home_in(renewal))
                if self._witnessing is not None and renewal.witness is not None and not answer.witness:
                    self._witnessing.want(LeaseName(host, answer.era, answer.epoch))
            if not future.done():
                future.set_result(answer)

    def _renew(self, tx: Tx, era: int, host: HostId, renewal: Renew, *, note: bool) -> Renewed | Fenced:
        lease = host_rows.lease(tx, host)
        if (
            lease is None
            or lease.revoked
            or (renewal.era, renewal.epoch, renewal.boot) != (era, lease.epoch, lease.boot)
        ):
            return self._over(tx, era, host, renewal, lease)
        if renewal.counter > lease.counter + MOST_LOST:
            log.error("renewal not believed", host=host, counter=renewal.counter, known=lease.counter)
            return Fenced(epoch=renewal.epoch)
        if renewal.counter > lease.counter:
            name = host_rows.name(tx, host)
            eras.hold(tx, f"host {name} has heard of renewal {renewal.counter}, the database of {lease.counter}")
        if lease.counter - renewal.counter > TRAILING:
            # No nonce: it tells the counter and moves no deadline.
            return Renewed(nonce=0, era=renewal.era, epoch=lease.epoch, counter=lease.counter, ttl=lease.ttl)
        margin = max(lease.margin, self.times.margin)  # of settings that were raised since it was granted
        guard = self._worth(host, renewal, replace(lease, margin=margin))
        word = renewal.witness or ""
        # Only the newest renewal says that the guard goes by no witness any more; any says that it may.
        witness = word if word or renewal.counter == lease.counter else lease.witness
        home = self._home_in(renewal)
        counter = host_rows.renew(tx, host, renewal.epoch, renewal.boot, home, guard, witness, margin)
        if counter is None:
            return Fenced(epoch=renewal.epoch)
        if note:
            host_rows.seen(tx, host)
        return Renewed(
            nonce=renewal.nonce,
            era=renewal.era,
            epoch=lease.epoch,
            counter=counter,
            ttl=lease.ttl,
            returning=lease.returns,
            witness=lease.ttl if self._reads_witness(LeaseName(host, era, lease.epoch), word) else 0.0,
        )

    def _reads_witness(self, lease: LeaseName, word: str) -> bool:
        return self._witnessing is not None and self._witnessing.is_read(lease, word)

    def _over(self, tx: Tx, era: int, host: HostId, renewal: Renew, lease: Lease | None) -> Fenced:
        """Say which epoch is over, and which lease the host has now, if it is registered under one."""
        # Which is over: by now it may have entered the next one, welcomed elsewhere.
        row = host_rows.get(tx, host)
        if row is None or lease is None or lease.boot != renewal.boot or row.era != era:
            return Fenced(epoch=renewal.epoch)
        if row.state in (HostState.DEAD, HostState.ENROLLED) or lease.revoked or lease.epoch < renewal.epoch:
            return Fenced(epoch=renewal.epoch)
        return Fenced(epoch=renewal.epoch, next_era=era, next_epoch=lease.epoch)

    def _worth(self, host: HostId, renewal: Renew, lease: Lease) -> GuardClass:
        """Return the class of guard that the lease rests on from now on.

        A late renewal may say what is no longer so: only the newest makes the class stronger, any makes it weaker. So
        a guard that has heard of a weaker class may act on it. And it is measured by this very lease: a watchdog that
        others were told to allow for does not count where who waits for this lease's ttl and margin does not.
        """
        try:
            said = GuardClass(renewal.guard)
        except ValueError:  # of a newer release
            said = GuardClass.NONE
        if said.resets and not (
            renewal.stops_in and outlasts(lease.ttl, lease.margin, renewal.stops_in, self.times.drift)
        ):
            said = GuardClass.C
        if self._clocks.slow(host, renewal.boot):
            said = max(said, GuardClass.V, key=lambda each: each.weakness)
        if renewal.counter == lease.counter:
            return said
        return max(said, lease.guard, key=lambda each: each.weakness)

    def _home_in(self, renewal: Renew) -> str:
        return self._me.id if renewal.home is None else renewal.home

    def _hear(self, host: HostId, answer: Renewed, home: str) -> None:
        known = self._silences.get(host)
        if known is not None and known.lease.epoch == answer.epoch:
            lease = replace(known.lease, counter=answer.counter, home=home, returns=answer.returning)
            self._silences[host] = _heard(lease, self._clock.monotonic(), known)

    def begin(self, lease: Lease) -> None:
        """Note that the host registered just now, here, under this lease."""
        self._silences[lease.host] = _heard(replace(lease, home=self._me.id), self._clock.monotonic())

    def returned(self, host: HostId) -> None:
        """Note that a host that was dead has been welcomed, wherever: a silence from before that is none of its own."""
        known = self._silences.get(host)
        if known is not None:
            self._silences[host] = dataclasses.replace(known, since=self._clock.monotonic())

    async def look(self) -> list[Silence]:
        """Read all leases, note which changed, and return what is known of each host's silence."""
        leases = await self._database.read(host_rows.all_leases)
        now = self._clock.monotonic()  # after the reply arrived: never counts silence that was not observed
        standing = self._database.standing
        missed = standing != self._standing  # renewals may have been counted where we did not look, or were lost
        self._standing = standing
        fresh: dict[HostId, Silence] = {}
        for lease in leases:
            known = self._silences.get(lease.host)
            if known is None:
                fresh[lease.host] = Silence(lease, now, heard=False)
            elif not missed and (lease.epoch, lease.counter) < (known.lease.epoch, known.lease.counter):
                fresh[lease.host] = known  # heard while we read: what was read is older
            elif known.lease.epoch == lease.revoked and not missed:
                fresh[lease.host] = dataclasses.replace(known, lease=lease)  # revoked for this very silence
            elif (known.lease.epoch, known.lease.revoked) != (lease.epoch, lease.revoked):
                # A proof of death raised it, or a welcome elsewhere: only a renewal under it says that the host lives.
                fresh[lease.host] = Silence(lease, now, heard=False)
            elif known.lease.counter < lease.counter:
                fresh[lease.host] = _heard(lease, now, known)
            elif missed:
                fresh[lease.host] = dataclasses.replace(known, lease=lease, since=now)
            else:
                said = replace(known.lease, guard=lease.guard, witness=lease.witness)
                said = replace(said, ttl=lease.ttl, margin=lease.margin)  # others may have granted other ones
                fresh[lease.host] = dataclasses.replace(known, lease=said)
        self._silences = fresh
        return [self._observed(silence) for silence in fresh.values()]

    def silent_for(self, host: HostId) -> float | None:
        """Return for how many seconds the host has been silent, as observed here; None for a host never seen."""
        known = self._silences.get(host)
        return None if known is None else self._clock.monotonic() - self._observed(known).since

    def silence(self, host: HostId) -> Silence | None:
        known = self._silences.get(host)
        return None if known is None else self._observed(known)

    def _observed(self, silence: Silence) -> Silence:
        """Return the silence as far as this controller was there to observe it."""
        since = max(silence.since, self._listening_since)
        return silence if since == silence.since else dataclasses.replace(silence, since=since)

    @property
    def _listening_since(self) -> float:
        """Since when (monotonic) this controller would have heard a host that renewed."""
        now = self._clock.monotonic()
        if now >= self._me.leased_until:
            return now  # it has only just come back, or the database is away
        return max(self._began, self._me.steady_since, self._deaf_at)

    def home(self, host: HostId) -> str | None:
        """Return the executor that the host's agent calls home; None when that is away, or the host is silent."""
        known = self._silences.get(host)
        return known.lease.home or None if known is not None and self.renews(host) else None

    @property
    def settled(self) -> bool:
        """Say whether this controller has listened long enough to know who is silent; before, silence means nothing."""
        return self._clock.monotonic() - self._listening_since >= self.times.suspect_after

    def renews(self, host: HostId) -> bool:
        """Say whether the host's lease was renewed within the time after which the host becomes suspect."""
        known = self._silences.get(host)
        return known is not None and self._lately(known.heard_at)

    def alive(self, host: HostId) -> bool:
        """Say whether the host's lease is renewed, and its agent is there to be commanded, or will soon be again."""
        # A guard renews on while its agent is away: one that is started anew is no more missed than a lost connection.
        known = self._silences.get(host)
        return known is not None and self._lately(min(known.heard_at, known.agent_at))

    def _lately(self, moment: float) -> bool:
        """Say whether it was so short ago that whose last sign it was is not suspect yet."""
        return self._clock.monotonic() - moment < self.times.suspect_after
