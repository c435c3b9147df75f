"""Resume servers whose host has booted: those that were active are started again, by a hard reboot each."""

import structlog

from renova.model.ids import HostId
from renova.model.server import VmState
from renova.operations.cloud import Cloud
from renova.operations.reboot import accept_reboot
from renova.operations.submission import Asked
from renova.store import rights, servers
from renova.store.database import Tx

log = structlog.get_logger()


def resume_servers(cloud: Cloud, tx: Tx, host: HostId) -> None:
    """Ask for a hard reboot, in their owners' names, of the active servers that the host has the right to run.

    A server with a task is left to its operation, which goes on by itself.
    """
    for server in servers.on_host(tx, host):
        right = rights.right(tx, server.id)
        if server.vm_state is VmState.ACTIVE and server.task_state is None and right and right.host == host:
            asked = Asked(server.user, server.project, f"req-{cloud.chance.uuid()}", admin=True)
            accept_reboot(cloud, tx, asked, server.id, hard=True)
            log.info("server resumes", server=server.id, host=server.host_name)
