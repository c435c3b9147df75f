"""Looks at the hosts' leases again and again, and proves the death of silent hosts where it can be proven.

Never acts on a silence it did not observe itself. A proof is written only if the lease is still exactly as it was
when the evidence was gathered: a host that renewed meanwhile is alive.
"""

import asyncio
from dataclasses import dataclass, field

import structlog

from renova.ha.decide import Next, Watched, decide
from renova.hosts.leases import Silence
from renova.model.channel import Closed
from renova.model.errors import NotNow
from renova.model.host import Host
from renova.model.ids import HostId
from renova.operations.cloud import Cloud
from renova.power import Power, Reading
from renova.store import hosts as host_rows
from renova.store import rights
from renova.store.database import Tx

log = structlog.get_logger()

LOOK = 1.0  # seconds between looks
REMIND = 10.0  # seconds between reminders of the same host
BETWEEN_READINGS = 1.0  # seconds: a single reading of "off" may be a machine that is being reset


@dataclass(slots=True)
class Monitor:
    """One controller's watch."""

    cloud: Cloud
    power: Power
    _alive: dict[HostId, bool] = field(default_factory=dict)
    _reminded: dict[HostId, float] = field(default_factory=dict)

    async def serve(self) -> None:
        """Watch until cancelled."""
        while True:
            try:
                await self.look()
            except NotNow:
                log.warning("hosts not watched", exc_info=True)
            await self.cloud.clock.sleep(LOOK)

    async def look(self) -> None:
        silences = {silence.lease.host: silence for silence in await self.cloud.hosts.leases.look()}
        await self._call_in_debts()
        seeking = []
        for host in await self.cloud.database.read(host_rows.every):
            self._note_change(host)
            await self.cloud.hosts.stand(host)
            if (silence := silences.get(host.id)) is not None:
                seeking.append(self.consider(host, silence))
        # Together: a rack's worth of silent hosts must not be proven dead one after the other.
        await asyncio.gather(*seeking)

    async def _call_in_debts(self) -> None:
        """Remind hosts that are here of what they owe: they were away, or their connection broke, when it came up."""
        now = self.cloud.clock.monotonic()
        for host in await self.cloud.database.read(rights.debtors):
            if self.cloud.hosts.connected(host) and now - self._reminded.get(host, -REMIND) >= REMIND:
                self._reminded[host] = now
                try:
                    await self.cloud.hosts.call_in_debts(host)
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
        )
        readings = {"silent_s": f"{watched.silent_s:.1f}", "counter": str(silence.lease.counter)}
        match decide(watched):
            case Next.NOTHING:
                return False
            case Next.TAKE_WORD:
                return await self._prove(host, silence, "operator", readings, "operator (service forced down)")
            case Next.READ_POWER:
                for number in (1, 2):
                    if await self.power.read(host.id, host.name) is not Reading.OFF:
                        return False
                    readings[f"reading_{number}"] = "off"
                    if number == 1:
                        await self.cloud.clock.sleep(BETWEEN_READINGS)
                return await self._prove(host, silence, "power_off", readings, "power switch")

    async def seek(self, host: HostId) -> bool:
        """Seek a proof now, for somebody who waits for it; True when the host is proven dead."""
        row = await self.cloud.database.read(lambda tx: host_rows.get(tx, host))
        silence = self.cloud.hosts.leases.silence(host)
        if row is not None and silence is not None:
            await self.consider(row, silence)
        # Whoever wrote it: a look that had begun before may have been first.
        return await self.cloud.database.read(lambda tx: host_rows.proof(tx, host)) is not None

    async def _prove(self, host: Host, silence: Silence, kind: str, readings: dict[str, str], who: str) -> bool:
        def work(tx: Tx) -> bool:
            return host_rows.prove_dead(tx, silence.lease, kind, readings, who)

        proven = await self.cloud.database.transact(work)
        if proven:
            log.warning("host proven dead", host=host.name, proof=kind, **readings)
            self.cloud.fleet.stale()
            await self.cloud.hosts.fence(host.id)
        return proven
