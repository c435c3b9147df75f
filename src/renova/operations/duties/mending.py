"""How duties write: never while the cluster is on hold, for then the database is known to have lost commits."""

from collections.abc import Callable
from typing import TypeVar

from renova.model.errors import OnHold
from renova.operations.cloud import Cloud
from renova.store import cluster
from renova.store.database import Tx

T = TypeVar("T")


def demand_no_hold(tx: Tx) -> None:
    """Raise `OnHold` while it is not known what the database has lost: nothing is mended by its word."""
    standing = cluster.get(tx)
    if standing.hold is not None:
        raise OnHold(f"the cluster is on hold: {standing.hold}")


async def mend(cloud: Cloud, change: Callable[[Tx], T]) -> T:
    """Make the change in one transaction, in which it looks once more at all that it rests on."""

    def unless_on_hold(tx: Tx) -> T:
        demand_no_hold(tx)
        return change(tx)

    return await cloud.database.transact(unless_on_hold)
