"""Each controller counts in the database: one that has fallen behind the count has lost commits, and all goes on hold.

A net, and no proof: it misses a lost tail that nobody who still lives has seen (docs/safety.md). An operator's word
begins a new era then, and the hold ends here, once every host is known again.
"""

from dataclasses import dataclass

from renova.hosts import eras
from renova.operations.cloud import Cloud
from renova.operations.leave_as_found import leave_as_found
from renova.store import cluster
from renova.store.cluster import Cluster
from renova.store.database import Tx

TICK = 5.0  # seconds between counts


@dataclass(slots=True)
class Count:
    """One controller's count, and the eras that it has seen."""

    cloud: Cloud
    _tick: int = 0  # the highest that this controller saw committed
    _era: int = 0  # in which that was
    _reached: tuple[int, bool] = (0, False)  # the newest era seen, and whether its hold had ended
    _ticked: float = float("-inf")

    async def go_on(self) -> Cluster:
        """Count on, now and then; hold what has to be held, end the hold that can end; returns how all stands then."""
        standing = await self._count()
        if standing.restoring:
            standing = await self.cloud.database.transact(self._try_end)
        self._reached = max(self._reached, _reached(standing))
        return standing

    async def _count(self) -> Cluster:
        standing, noted = await self.cloud.database.read(lambda tx: (cluster.get(tx), self._is_noted(tx)))
        if not noted:
            standing = await self.cloud.database.transact(self._note_replication)
        # An unbroken history never goes back from where an era's hold has ended.
        if _reached(standing) < self._reached and (standing.hold is None or standing.restoring):
            era = self._reached[0]
            lost = f"this controller has seen era {era} go on, the database is at the beginning of era {standing.era}"
            return await self._hold(lost, era)
        if standing.restoring or standing.era > self._era:
            # The operator has said that this is the database to go on with, maybe while this controller was away.
            self._tick, self._era = standing.tick, standing.era
        elif standing.hold is None and standing.tick < self._tick:
            return await self._hold(f"this controller has counted to {self._tick}, the database to {standing.tick}")
        now = self.cloud.clock.monotonic()
        if standing.hold is None and now - self._ticked >= TICK:
            self._ticked = now
            # After the commit: only what is certain to have been there can be missed.
            self._tick = await self.cloud.database.transact(cluster.tick)
        return standing

    def _is_noted(self, tx: Tx) -> bool:
        history = self.cloud.database.history
        return history is None or history.agrees(tx)

    def _note_replication(self, tx: Tx) -> Cluster:
        history = self.cloud.database.history
        assert history is not None
        history.note(tx)
        return cluster.get(tx)

    async def _hold(self, lost: str, era: int = 0) -> Cluster:
        await self.cloud.database.transact(lambda tx: eras.hold(tx, lost, era))
        return await self.cloud.database.read(cluster.get)

    def _try_end(self, tx: Tx) -> Cluster:
        """End the hold if nothing is waited for; what rests on what the database knew wrongly ends with it."""
        for each in eras.try_end(tx) or ():
            leave_as_found(self.cloud, tx, each)
        return cluster.get(tx)


def _reached(standing: Cluster) -> tuple[int, bool]:
    """Return how far the cluster has come: its era, and whether the hold with which it began has ended."""
    return standing.era, not standing.restoring
