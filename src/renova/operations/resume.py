"""Resume active servers whose guests the cloud knows to be gone, by a hard reboot each.

Asked whenever a host is up: what it rests on is in the database, so nothing is forgotten when a controller dies.
"""

import structlog

from renova.model.guest import LIVES, PowerState
from renova.model.host import HostState
from renova.model.ids import HostId
from renova.model.server import Server, VmState
from renova.operations.cloud import Cloud
from renova.operations.heal_ports import have_ports_follow
from renova.operations.reboot import accept_reboot
from renova.operations.submission import Asked
from renova.store import cluster, hosts, rights, servers
from renova.store.database import Tx

log = structlog.get_logger()


def resume_servers(cloud: Cloud, tx: Tx, host_id: HostId) -> None:
    """Resume the host's servers that nobody may run any more, and, after a boot, those it has the right to run.

    Nobody may run a server whose evacuation failed after the right had gone to another host that could not run it.
    """
    host = hosts.get(tx, host_id)
    if host is None or host.state is not HostState.UP or host.forced_down or cluster.get(tx).hold is not None:
        return
    for server in servers.on_host(tx, host_id):
        right = rights.right(tx, server.id)
        ended = right is None and not rights.owes(tx, host_id, server.id)
        # After a boot that the database had lost, some run again already.
        off = host.resume and server.power_state not in LIVES
        mine = ended or (off and right is not None and right.host == host_id)
        if mine:
            _resume(cloud, tx, server)
    if host.resume:
        hosts.change(tx, host_id, resume=False)


def _resume(cloud: Cloud, tx: Tx, server: Server) -> None:
    """Ask in its owner's name; or have it stopped, where it is not to start by itself.

    A server with a task is left to its operation, which goes on by itself; a suspended one has its memory on disk.
    """
    if server.task_state is not None or server.vm_state not in (VmState.ACTIVE, VmState.PAUSED):
        return
    # What stood still has lost the memory it was paused for.
    if server.vm_state is VmState.PAUSED or not cloud.settings.resume_guests_on_boot:
        servers.change(tx, server.id, vm_state=VmState.STOPPED, power_state=PowerState.SHUTDOWN)
        have_ports_follow(cloud, tx, server)
        return
    asked = Asked(server.user, server.project, f"req-{cloud.chance.uuid()}", admin=True)
    accept_reboot(cloud, tx, asked, server.id, hard=True)
    log.info("server resumes", server=server.id, host=server.host_name)
