"""Resume active servers whose guests the cloud knows to be gone, by a hard reboot each.

Asked whenever a host is up: what it rests on is in the database, so nothing is forgotten when a controller dies.
"""

from renova.model.guest import LIVES
from renova.model.host import HostState
from renova.model.ids import HostId
from renova.model.server import TaskState
from renova.operations.cloud import Cloud
from renova.operations.heal_guest import accept_heal_guest, bring_back
from renova.operations.submission import for_owner
from renova.store import cluster, hosts, rights, servers
from renova.store.database import Tx


def resume_servers(cloud: Cloud, tx: Tx, host_id: HostId) -> None:
    """Resume the host's servers that nobody may run any more, and, after a boot, those it has the right to run.

    Nobody may run a server whose evacuation, or other move, failed after the right had gone to another host that could
    not run it: that has confirmed it, or is proven dead.
    """
    host = hosts.get(tx, host_id)
    if host is None or host.state is not HostState.UP or host.forced_down or cluster.get(tx).hold is not None:
        return
    if hosts.is_cut_off(tx, host_id):
        return  # nobody is up there: its servers are to leave it, or wait until it says hello
    if host.resume:
        _ask_for_others(cloud, tx, host_id)
    for server in servers.on_host(tx, host_id):
        right = rights.right(tx, server.id)
        ended = rights.has_ended(tx, server.id, right) and not rights.owes(tx, host_id, server.id)
        off = host.resume and server.power_state not in LIVES
        mine = ended or (off and right is not None and right.host == host_id)
        if mine:
            bring_back(cloud, tx, server)
    if host.resume:
        hosts.change(tx, host_id, resume=False)


def _ask_for_others(cloud: Cloud, tx: Tx, host_id: HostId) -> None:
    """Have the host asked for the guests of which it is not known that they are off.

    An operation that is under way, or has ended since the host said hello, may have started its guest before or after
    the boot; and after a boot that the database had lost, some run again already. Of whoever the host has the right to
    run: one that is being evacuated here still lives elsewhere.
    """
    for server_id in rights.of_host(tx, host_id):
        server = servers.get(tx, server_id)
        if server is None or server.task_state is TaskState.DELETING:
            continue
        if server.task_state is not None or server.power_state in LIVES:
            asked = for_owner(server, cloud.chance)
            accept_heal_guest(cloud, tx, asked, server_id)
