"""Looks, at the start and each minute, whether a failover of the database could lose commits, and says when so."""

import structlog

from renova.model.errors import NotNow
from renova.operations.cloud import Cloud
from renova.store.replication import Replication, of_file, of_server

log = structlog.get_logger()

LOOK = 60.0  # seconds between looks


async def replication(cloud: Cloud) -> Replication:
    """Return how the database is replicated now. `NotNow`."""
    if not cloud.settings.several:
        return of_file()
    return await cloud.database.read(lambda tx: of_server(tx, cloud.database.standing))


async def watch_replication(cloud: Cloud) -> None:
    """Look until cancelled; what has changed for better or worse is said once."""
    former: str | None = None
    while True:
        try:
            trouble = (await replication(cloud)).trouble
            if trouble is not None and trouble != former:
                log.warning("database not safe to fail over", reason=trouble)
            elif trouble is None and former is not None:
                log.info("database safe to fail over")
            former = trouble
        except NotNow:
            log.warning("database not looked at", exc_info=True)
        await cloud.clock.sleep(LOOK)
