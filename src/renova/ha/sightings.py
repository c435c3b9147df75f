"""Whether other hosts see those that are not heard: a second channel, which proves nothing.

Some of those that are heard say whether it answers on the underlay, and, where they share its storage, whether its
heartbeat there goes on. A host that controllers do not hear, and others see, is alive: it is the controllers, or its
agent, that something is wrong with. So it is not switched off (`ha.decide`), and the certificate of a death says what
was seen.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from renova.ha.standing import Standing, standing
from renova.model.channel import Closed
from renova.model.errors import CloudError
from renova.model.host import Host
from renova.model.ids import HostId
from renova.model.sighting import Heart, Sighting
from renova.operations.cloud import Cloud
from renova.store import hosts

LOOK = 2.0  # seconds between looks
GOOD_S = 12.0  # for which what was seen is believed
WITNESSES = 3  # hosts that are asked
ANSWER_S = 4.0  # seconds they have
MOST = 64  # hosts that are looked for at a time


def standing_of(cloud: Cloud, host: Host) -> Standing:
    """Say how the host stands, by what this controller hears of it and was told by others."""
    leases = cloud.hosts.leases
    lives = leases.renews(host.id) or cloud.hosts.sighted(host.id).alive is True
    return standing(host, silent=not leases.alive(host.id), seen=lives)


@dataclass(slots=True)
class _Seen:
    """What one host was last seen to do, and when (monotonic)."""

    asked: float = -math.inf  # when others last told of it
    answered: float = -math.inf  # when one last did whom it had answered
    hearts: "dict[bool, _Heard]" = field(default_factory=dict)  # the newest that beat, and the newest that did not


class _Heard(NamedTuple):
    heart: Heart
    by: str
    at: float  # monotonic


@dataclass(slots=True)
class Sightings:
    """What this controller was told by hosts; `missed` are those that it does not hear."""

    cloud: Cloud
    missed: Callable[[], Collection[HostId]]
    _seen: dict[HostId, _Seen] = field(default_factory=dict)

    async def serve(self) -> None:
        """Have hosts look for those that are missed, until cancelled."""
        while True:
            if self.missed():
                with suppress(CloudError):  # the database is away: it is asked again
                    await self.look()
            await self.cloud.clock.sleep(LOOK)

    async def look(self) -> None:
        """Ask some hosts that are heard, and as many of those that share a missed one's storage."""
        missed = sorted(self.missed())[:MOST]
        rows = {row.id: row for row in await self.cloud.database.read(hosts.computing)}
        sought = [rows[host] for host in missed if host in rows and rows[host].address]
        heard = [row for row in rows.values() if self._is_heard(row.id)]
        self._seen = {row.id: self._seen.get(row.id, _Seen()) for row in sought}
        asking = [self._ask(witness, sought) for witness in heard[:WITNESSES]]
        for storage in sorted({_storage(row) for row in sought} - {""}):
            sharing = [row.id for row in sought if _storage(row) == storage]
            listening = [row for row in heard if _storage(row) == storage]
            asking += [self._listen(witness, sharing) for witness in listening[:WITNESSES]]
        await asyncio.gather(*asking)

    def sees(self, host: HostId) -> Sighting:
        """Say what other hosts have seen of it of late."""
        since = self.cloud.clock.monotonic() - GOOD_S
        seen = self._seen.get(host, _Seen())
        # One beat counts for a while: a heart may miss some.
        heard = [each for beats in (True, False) if (each := seen.hearts.get(beats)) is not None and each.at >= since]
        return Sighting(
            answers=None if seen.asked < since else seen.answered >= since,
            heart=heard[0].heart if heard else None,
            by=heard[0].by if heard else "",
        )

    def _is_heard(self, host: HostId) -> bool:
        return self.cloud.hosts.up(host) and self.cloud.agents.connected(host)

    async def _ask(self, witness: Host, sought: Sequence[Host]) -> None:
        with suppress(CloudError, Closed, TimeoutError):  # another may answer
            async with asyncio.timeout(ANSWER_S):
                answering = await self.cloud.agents.look_for(witness.id, [row.address for row in sought])
            now = self.cloud.clock.monotonic()
            for row in sought:
                seen = self._seen.setdefault(row.id, _Seen())
                seen.asked = now
                if row.address in answering:
                    seen.answered = now

    async def _listen(self, witness: Host, sharing: Sequence[HostId]) -> None:
        with suppress(CloudError, Closed, TimeoutError):
            async with asyncio.timeout(ANSWER_S):
                hearts = await self.cloud.agents.listen_for(witness.id, sharing)
            now = self.cloud.clock.monotonic()
            for heart in hearts:
                if heart.host in sharing:
                    self._seen.setdefault(heart.host, _Seen()).hearts[heart.beats] = _Heard(heart, witness.name, now)


def _storage(host: Host) -> str:
    return host.facts.storage_id if host.facts else ""
