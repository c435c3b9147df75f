"""What hosts report of guests that changed by themselves: the database follows (spec: evacuate, section 9).

A report counts only for the host and incarnation that have the right, and while no task is under way: a task's own
end says the truth about its guest.
"""

from collections.abc import Iterable

import structlog

from renova.model.guest import GuestChanged, PowerState
from renova.model.ids import HostId, ServerId
from renova.model.server import Server, VmState
from renova.store import rights, servers
from renova.store.database import Tx

log = structlog.get_logger()

LIVING = (VmState.ACTIVE, VmState.PAUSED)  # their guests are not off


def take_report(tx: Tx, host: HostId, changes: Iterable[GuestChanged]) -> list[ServerId]:
    """Follow the changes; returns the servers that stopped by them."""
    stopped: list[ServerId] = []
    for change in changes:
        right = rights.right(tx, change.server)
        server = servers.get(tx, change.server)
        if server is None or server.task_state is not None:
            continue
        if right is None or right.host != host or right.incarnation != change.incarnation:
            continue
        values = followed(server, change.power)
        if "vm_state" in values:
            stopped.append(server.id)
            log.info("guest stopped by itself", server=server.id, power=change.power.name)
        elif server.vm_state is VmState.STOPPED and change.power is PowerState.RUNNING:
            log.warning("guest of a stopped server runs", server=server.id)
        if server.power_state is not change.power or len(values) > 1:
            servers.change(tx, server.id, **values)
    return stopped


def followed(server: Server, power: PowerState) -> dict[str, object]:
    """Return what changes of a server whose guest is found so, and nobody was asked for it."""
    values: dict[str, object] = {"power_state": power}
    if server.vm_state in LIVING and power in (PowerState.SHUTDOWN, PowerState.CRASHED):
        # Nova's power sync: a guest that powered itself off, or died, makes its server stopped.
        values["vm_state"] = VmState.STOPPED
    return values
