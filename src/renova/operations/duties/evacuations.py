"""Records of evacuations and other moves: each is under way, or final; none waits for what has already happened."""

from functools import partial

from renova.model.ids import HostId
from renova.operations.cloud import Cloud
from renova.operations.duties.mending import mend
from renova.operations.rounds import Tally
from renova.store import hosts, migrations, operations, rights, servers
from renova.store.database import Tx
from renova.store.migrations import Migration
from renova.store.placement import claims


async def finish_evacuations(cloud: Cloud, tally: Tally) -> None:
    """Close the records that nobody works on any more."""
    open_ones = [migrations.migrations.c.status.in_((*migrations.ACTIVE, "done"))]
    for migration in await cloud.database.read(lambda tx: migrations.find(tx, open_ones)):
        tally.looked += 1
        with tally.apart(host=migration.source_name, server=migration.server):
            what = await mend(cloud, partial(_finish, cloud, migration=migration))
            if what is not None:
                tally.find(what, mended=True, host=migration.source_name, server=migration.server)


def _finish(cloud: Cloud, tx: Tx, migration: Migration) -> str | None:
    if operations.active(tx, migration.server) is not None:
        return None
    if migrations.move(tx, migration.id, ("pre-migrating",), "failed") or migrations.move(
        tx, migration.id, migrations.ACTIVE, "error"
    ):
        return f"{migration.type} {migration.id} was {migration.status}, and nobody worked on it"
    if not _cleaned(tx, migration.source, migration):
        return None
    if not migrations.move(tx, migration.id, ("done",), "completed"):
        return None
    claims.release(tx, migration.server, migration.source)
    cloud.fleet.stale()
    return f"evacuation {migration.id} was done, and its source has cleaned up or is gone"


def _cleaned(tx: Tx, source: HostId, migration: Migration) -> bool:
    """Say whether the source has nothing of the server to clean up, and does not have it again."""
    server = servers.get(tx, migration.server)
    if server is not None and server.host == source:
        return False  # it has moved back: what it holds here is its own
    return hosts.get(tx, source) is None or not rights.owes(tx, source, migration.server)
