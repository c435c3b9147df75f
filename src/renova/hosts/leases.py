"""The hosts' leases, at the controllers' end: renewing them in batches, and watching for silence.

A renewal is acknowledged only after the commit that counted it. Silence is measured on this controller's own
monotonic clock from when it last *read* a change, anew after its start, whenever its connection to the database was
lost or the database failed over, and when it could not renew its own lease or those of hosts: it may have stood still,
or nobody could be heard. A controller that was away declares nobody dead (docs/decisions/0004).
"""

import asyncio
import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import structlog

from renova.engine.executor import Executor
from renova.hosts import eras
from renova.model.clock import Clock
from renova.model.host import Lease
from renova.model.ids import HostId
from renova.settings import LeaseTimes
from renova.store import cluster
from renova.store import hosts as host_rows
from renova.store.database import Database, Tx
from renova.wire import Fenced, Renew, Renewed

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


def _heard(lease: Lease, now: float) -> Silence:
    return Silence(lease, now, heard=True, heard_at=now)


class Leases:
    """Renews leases, and knows how long each host has been silent."""

    def __init__(self, database: Database, clock: Clock, times: LeaseTimes, me: Executor) -> None:
        self._me = me  # who renews
        self._database = database
        self._clock = clock
        self._times = times
        self._silences: dict[HostId, Silence] = {}
        self._waiting: list[_Waiting] = []
        self._gathering: asyncio.Task[None] | None = None
        self._noted: dict[HostId, float] = {}
        self._began = clock.monotonic()
        self._standing = database.standing
        self._deaf_at = -math.inf  # monotonic, when renewals were heard last that could not be committed

    async def renew(self, host: HostId, renewal: Renew) -> Renewed | Fenced | None:
        """Renew the host's lease; None when the database gave no answer: silence, which moves no deadline."""
        future: asyncio.Future[Renewed | Fenced | None] = asyncio.get_running_loop().create_future()
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
        for (host, _, future), answer in zip(batch, answers, strict=True):
            if isinstance(answer, Renewed) and answer.nonce:
                self._hear(host, answer)
            if not future.done():
                future.set_result(answer)

    def _renew(self, tx: Tx, era: int, host: HostId, renewal: Renew, *, note: bool) -> Renewed | Fenced:
        lease = host_rows.lease(tx, host)
        # It is told which epoch is over: by now it may have entered the next one, welcomed elsewhere.
        over = Fenced(epoch=renewal.epoch)
        if lease is None or (renewal.era, renewal.epoch, renewal.boot) != (era, lease.epoch, lease.boot):
            return over
        if renewal.counter > lease.counter + MOST_LOST:
            log.error("renewal not believed", host=host, counter=renewal.counter, known=lease.counter)
            return over
        if renewal.counter > lease.counter:
            name = host_rows.name(tx, host)
            eras.hold(tx, f"host {name} has heard of renewal {renewal.counter}, the database of {lease.counter}")
        if lease.counter - renewal.counter > TRAILING:
            # No nonce: it tells the counter and moves no deadline.
            return Renewed(nonce=0, era=renewal.era, epoch=lease.epoch, counter=lease.counter, ttl=lease.ttl)
        counter = host_rows.renew(tx, host, renewal.epoch, renewal.boot, self._me.id)
        if counter is None:
            return over
        if note:
            host_rows.seen(tx, host)
        return Renewed(nonce=renewal.nonce, era=renewal.era, epoch=lease.epoch, counter=counter, ttl=lease.ttl)

    def _hear(self, host: HostId, answer: Renewed) -> None:
        known = self._silences.get(host)
        if known is not None and known.lease.epoch == answer.epoch:
            lease = Lease(
                host=host,
                epoch=answer.epoch,
                counter=answer.counter,
                boot=known.lease.boot,
                ttl=known.lease.ttl,
                margin=known.lease.margin,
                guard=known.lease.guard,
                home=self._me.id,
            )
            self._silences[host] = _heard(lease, self._clock.monotonic())

    def begin(self, lease: Lease) -> None:
        """Note that the host registered just now under this lease."""
        self._silences[lease.host] = _heard(lease, self._clock.monotonic())

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
            elif known.lease.epoch != lease.epoch:
                # A proof of death raised it, or a welcome elsewhere: only a renewal under it says that the host lives.
                fresh[lease.host] = Silence(lease, now, heard=False)
            elif known.lease.counter < lease.counter:
                fresh[lease.host] = _heard(lease, now)
            elif missed:
                fresh[lease.host] = Silence(lease, now, heard=known.heard, heard_at=known.heard_at)
            else:
                fresh[lease.host] = known
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
        return silence if since == silence.since else replace(silence, since=since)

    @property
    def _listening_since(self) -> float:
        """Since when (monotonic) this controller would have heard a host that renewed."""
        now = self._clock.monotonic()
        if now >= self._me.leased_until:
            return now  # it has only just come back, or the database is away
        return max(self._began, self._me.steady_since, self._deaf_at)

    def home(self, host: HostId) -> str | None:
        """Return the executor that has the host connected and renews its lease; None when it is silent."""
        known = self._silences.get(host)
        return known.lease.home or None if known is not None and self.alive(host) else None

    @property
    def settled(self) -> bool:
        """Say whether this controller has listened long enough to know who is silent; before, silence means nothing."""
        return self._clock.monotonic() - self._listening_since >= self._times.suspect_after

    def alive(self, host: HostId) -> bool:
        """Say whether the host was heard within the time after which it becomes suspect."""
        known = self._silences.get(host)
        return known is not None and self._clock.monotonic() - known.heard_at < self._times.suspect_after
