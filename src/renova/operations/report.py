"""What hosts report of guests that changed by themselves: the database follows (spec: evacuate, section 9).

A report counts only for the host and incarnation that have the right, and while no task is under way: a task's own
end says the truth about its guest (`follow_unheard`, where it has left that alone). Nothing is stopped, or taken to
hang, on a report alone: it may be older than a start that has ended since, so the host is asked once more. The ports of
what stops go down by an operation of the same transaction.
"""

from collections.abc import Iterable, Mapping

import structlog

from renova.model.guest import LIVES, FoundGuest, GuestChanged, PowerState
from renova.model.ids import HostId, ServerId
from renova.model.server import Server, VmState
from renova.operations.cloud import Cloud
from renova.operations.heal_ports import have_ports_follow
from renova.store import drains, hosts, restarts, rights, servers
from renova.store.database import Tx

log = structlog.get_logger()

LIVING = (VmState.ACTIVE, VmState.PAUSED)  # their guests are not off


def take_report(
    cloud: Cloud,
    tx: Tx,
    host: HostId,
    changes: Iterable[GuestChanged],
    seen: Mapping[ServerId, int] | None = None,
) -> None:
    """Follow the changes.

    With `seen`, the numbers of the last operations as they were when the host was asked once more, no server stops, or
    is taken to hang, that has had an operation since.
    """
    for change in changes:
        server = _idle_here(tx, host, change)
        if server is None:
            continue
        values, crashed = followed(server, change.power), False
        as_seen = seen is None or seen.get(server.id) == server.last_number
        if "vm_state" in values:
            if not as_seen:
                continue
            have_ports_follow(cloud, tx, server)
            crashed = change.power is PowerState.CRASHED and server.vm_state is VmState.ACTIVE
            log.info("guest stopped by itself", server=server.id, power=change.power.name)
        elif server.vm_state is VmState.STOPPED and change.power is PowerState.RUNNING:
            log.warning("guest of a stopped server runs", server=server.id)
        if server.power_state is not change.power or len(values) > 1:
            servers.change(tx, server.id, **values)
        if crashed:
            note_crash(cloud, tx, server.id)
        if as_seen and _hangs(server, change):
            note_hang(cloud, tx, server, change.hung)


def follow_unheard(cloud: Cloud, tx: Tx, server: Server, power: PowerState) -> None:
    """Follow what the server's guest has done by itself while a task was under way: reports did not count then."""
    servers.change(tx, server.id, **followed(server, power))
    if power is PowerState.CRASHED and server.vm_state is VmState.ACTIVE:
        note_crash(cloud, tx, server.id)


def note_crash(cloud: Cloud, tx: Tx, server_id: ServerId) -> None:
    """Write down, where somebody follows it, that the server's guest did not end by its own or anybody's will."""
    server, recovery = servers.get(tx, server_id), cloud.settings.recovery
    # Else a guest would be started again when that is turned on, long after its user had seen it stopped.
    if server is not None and recovery.automatic and recovery.restarts:
        restarts.note_crash(tx, server_id, server.last_number, cloud.settings.recovery.restart_window)


def note_hang(cloud: Cloud, tx: Tx, server: Server, why: str) -> None:
    """Write down likewise that the server's guest hangs, unless that is known: nothing was done to it since."""
    recovery = cloud.settings.recovery
    if not (recovery.automatic and recovery.restarts):
        return
    if server.host is not None and drains.get(tx, server.host) is not None:
        return  # each time that it is tried to have it leave it would be taken for another hang
    if restarts.note_hang(tx, server.id, server.last_number, recovery.restart_window):
        log.warning("guest hangs", server=server.id, why=why)


def to_look_at(tx: Tx, host: HostId, changes: Iterable[GuestChanged]) -> dict[ServerId, int]:
    """Return the servers that the changes would stop, or have hang, each with the number of its last operation."""
    found: dict[ServerId, int] = {}
    for change in changes:
        server = _idle_here(tx, host, change)
        if server is not None and ("vm_state" in followed(server, change.power) or _hangs(server, change)):
            found[server.id] = server.last_number
    return found


def as_found(changes: Iterable[GuestChanged], guests: Iterable[FoundGuest]) -> list[GuestChanged]:
    """Return the changes as the host finds these guests now; a report may have been long on its way."""
    now = {guest.server: guest for guest in guests}
    return [
        GuestChanged(change.server, found.incarnation, found.power, found.hung)
        for change in changes
        if (found := now.get(change.server)) is not None
    ]


def _hangs(server: Server, change: GuestChanged) -> bool:
    """Say whether the change counts as a hang: only of a server whose guest is to run."""
    return bool(change.hung) and server.vm_state is VmState.ACTIVE and change.power in LIVES


def _idle_here(tx: Tx, host: HostId, change: GuestChanged) -> Server | None:
    """Return the server, if nothing is being done to it and the report is of the guest that it has the right to."""
    right = rights.right(tx, change.server)
    server, place = servers.get(tx, change.server), hosts.get(tx, host)
    if server is None or server.task_state is not None:
        return None
    if place is None or place.resume:
        return None  # it has booted, and cleans up first: then its servers are started again, and that has ended them
    if right is None or right.host != host or right.incarnation != change.incarnation:
        return None
    # Where it is being moved to, or was to be, its power is not the server's yet.
    return server if server.host == host else None


def followed(server: Server, power: PowerState) -> dict[str, object]:
    """Return what changes of a server whose guest is found so, and nobody was asked for it."""
    values: dict[str, object] = {"power_state": power}
    if server.vm_state in LIVING and power in (PowerState.SHUTDOWN, PowerState.CRASHED):
        # Nova's power sync: a guest that powered itself off, or died, makes its server stopped.
        values["vm_state"] = VmState.STOPPED
    return values
