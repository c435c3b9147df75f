"""Resume active servers whose guests the cloud knows to be gone, by a hard reboot each.

Called when a host is up after a boot, and when nothing of a server is left where it was.
"""

import structlog

from renova.model.ids import HostId, ServerId
from renova.model.server import Server, VmState
from renova.operations.cloud import Cloud
from renova.operations.reboot import accept_reboot
from renova.operations.submission import Asked
from renova.store import rights, servers
from renova.store.database import Tx

log = structlog.get_logger()


def resume_servers(cloud: Cloud, tx: Tx, host: HostId) -> None:
    """Resume the servers that the host, which has booted, has the right to run."""
    for server in servers.on_host(tx, host):
        right = rights.right(tx, server.id)
        if right and right.host == host:
            _resume(cloud, tx, server)


def resume_lost(cloud: Cloud, tx: Tx, server_id: ServerId) -> None:
    """Resume the server if nobody may run it any more, and its host has cleaned up what was left of it.

    So it ends after an evacuation that failed: the host had lost its right to another, which could not run the server.
    """
    server = servers.get(tx, server_id)
    if server is None or server.host is None or rights.right(tx, server_id) is not None:
        return
    if not rights.owes(tx, server.host, server_id):
        _resume(cloud, tx, server)


def _resume(cloud: Cloud, tx: Tx, server: Server) -> None:
    """Ask in its owner's name. A server with a task is left to its operation, which goes on by itself."""
    if server.vm_state is VmState.ACTIVE and server.task_state is None:
        asked = Asked(server.user, server.project, f"req-{cloud.chance.uuid()}", admin=True)
        accept_reboot(cloud, tx, asked, server.id, hard=True)
        log.info("server resumes", server=server.id, host=server.host_name)
