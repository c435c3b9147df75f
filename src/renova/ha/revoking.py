"""Revokes leases whose guards go by the witness, in two stages: such a guard stops its guests when it is shown that.

A lease is revoked in the database first: from then on nobody renews it. Then that is written to the witness, synced and
read back; and only a further ttl and margin later, on this controller's own clock, the end of the lease is the end of
the guests (docs/safety.md). Whoever takes over from a controller writes and waits anew.
"""

from collections.abc import Set

import structlog

from renova.ha import brake
from renova.model.errors import NotNow, whole
from renova.model.host import Host, Lease
from renova.model.ids import HostId
from renova.operations.cloud import Cloud
from renova.store import hosts as host_rows
from renova.store.database import Tx
from renova.witness import LeaseName

log = structlog.get_logger()


class Revoking:
    """The revocations that this controller has shown."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._shown: dict[HostId, tuple[LeaseName, float]] = {}  # and since when (monotonic)
        self._showing: set[HostId] = set()

    async def revoke(self, host: Host, lease: Lease, silent: Set[HostId]) -> None:
        """Revoke the lease, if the brake lets it be, and it is as it was observed. The witness has to be its own."""

        def work(tx: Tx) -> bool:
            return brake.admits(self._cloud, tx, host.id, silent) and host_rows.revoke(tx, lease)

        if await self._cloud.database.transact(work):
            log.warning("lease revoked", host=host.name, epoch=lease.epoch)

    async def show(self, host: Host, lease: Lease) -> None:
        """Have the witness show that this lease is revoked, unless it does by us already."""
        name, witness = _revoked(host, lease), self._cloud.witness
        if witness is None or host.id in self._showing or self.shown_for(host, lease) is not None:
            return
        self._showing.add(host.id)
        try:
            await witness.revoke(name, lease.witness)
        except NotNow as error:
            log.warning("revocation not shown", host=host.name, reason=whole(error))
            return
        finally:
            self._showing.discard(host.id)
        self._shown[host.id] = name, self._cloud.clock.monotonic()  # after it was read back
        log.warning("revocation shown", host=host.name, epoch=lease.revoked)

    def shown_for(self, host: Host, lease: Lease) -> float | None:
        """Return for how many seconds the witness has shown that the lease is revoked, as seen from here."""
        known = self._shown.get(host.id)
        if not lease.revoked or known is None or known[0] != _revoked(host, lease):
            return None
        return self._cloud.clock.monotonic() - known[1]

    async def still_shows(self, host: Host, lease: Lease) -> bool:
        """Say whether it is still there: storage that was set back meanwhile may have shown the guard otherwise."""
        if self._cloud.witness is None:
            return False
        try:
            if (await self._cloud.witness.read(_revoked(host, lease))).revoked:
                return True
        except NotNow as error:
            log.warning("revocation not seen again", host=host.name, reason=whole(error))
            return False
        log.error("witness has lost a revocation", host=host.name, epoch=lease.revoked)
        self._shown.pop(host.id, None)
        return False

    async def is_its_witness(self, host: Host, lease: Lease) -> bool:
        """Say whether the witness is here, and is the one that the host reads; else revoking would prove nothing."""
        if self._cloud.witness is None:
            log.warning("lease not revoked: this controller has no witness, its host has", host=host.name)
            return False
        try:
            shown = await self._cloud.witness.read(LeaseName(host.id, host.era, lease.epoch))
        except NotNow as error:
            log.warning("lease not revoked", host=host.name, reason=whole(error))
            return False
        return shown.word == lease.witness


def _revoked(host: Host, lease: Lease) -> LeaseName:
    return LeaseName(host.id, host.era, lease.revoked)
