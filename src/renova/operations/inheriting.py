"""What a controller that died leaves to the others, besides its operations: uploads, and servers to resume.

Each of these is begun by the controller that sees why (a host says hello, a client sends bytes), and would stay as it
is if that one died before it is done. So every controller looks now and then; who is first does it, by what stands in
the database.
"""

from functools import partial

import structlog

from renova.model.errors import NotNow
from renova.operations.cloud import Cloud
from renova.operations.resume import resume_servers
from renova.store import rights

log = structlog.get_logger()

LOOK = 5.0  # seconds between looks


async def inherit(cloud: Cloud) -> None:
    """Look again and again, until cancelled."""
    while True:
        try:
            await look(cloud)
        except NotNow:
            log.warning("not looked for what others left", exc_info=True)
        await cloud.clock.sleep(LOOK)


async def look(cloud: Cloud) -> None:
    await cloud.images.recover()
    for host in await cloud.database.read(rights.to_resume):
        try:
            await cloud.database.transact(partial(resume_servers, cloud, host_id=host))
        except NotNow:
            raise
        except Exception:  # it must end neither the controller nor the look at the other hosts
            log.error("servers not resumed", host=host, exc_info=True)
