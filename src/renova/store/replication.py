"""What becomes of a commit when the database's server dies: whether another server is certain to have it.

Where one takes over that may not have it, what was granted may be forgotten. So proofs of death that rest on leases
count only where replication is synchronous (docs/decisions/0017): it is looked at when a controller starts and each
minute.
"""

import msgspec
from sqlalchemy import text

from renova.store.database import Standing, Tx

_SETTINGS = text(
    "SELECT current_setting('synchronous_standby_names') AS names, "
    "host(inet_server_addr()) || ':' || inet_server_port() AS server"
)
# To users who may not see other sessions (pg_read_all_stats), it shows that there are some, and no more.
_STANDBYS = text(
    "SELECT application_name AS name FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum') ORDER BY 1"
)


class Replication(msgspec.Struct, frozen=True, kw_only=True):
    """Where the database is, and who has a copy."""

    kind: str
    primary: str | None = None
    timeline: str | None = None
    synchronous: bool = False
    standbys: tuple[str, ...] = ()  # synchronous ones that follow now, as far as our user may see them
    trouble: str | None = None  # why proofs that rest on leases are refused


def is_synchronous(tx: Tx) -> bool:
    """Say whether a PostgreSQL server has commits wait for standbys."""
    names, _ = tx.execute(_SETTINGS).one()
    return bool(names)


def of_file() -> Replication:
    return Replication(kind="SQLite", synchronous=True)  # nobody else takes over


def of_server(tx: Tx, standing: Standing) -> Replication:
    """Read it of a PostgreSQL server."""
    names, server = tx.execute(_SETTINGS).one()
    standbys = tuple(name for name in tx.execute(_STANDBYS).scalars() if name)
    trouble = None
    if not names:
        trouble = (
            "replication is not synchronous: a failover may lose commits, so proofs of death that rest on leases are "
            "refused. Set synchronous_standby_names, and let only a synchronous standby take over"
        )
    return Replication(
        kind="PostgreSQL",
        primary=server,
        timeline=standing.timeline or None,
        synchronous=bool(names),
        standbys=standbys,
        trouble=trouble,
    )
