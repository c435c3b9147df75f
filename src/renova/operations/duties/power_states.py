"""Power states: what each host says of its guests, and what follows for their servers (spec: evacuate, section 9).

Hosts report changes as they happen (`operations.report`); this finds what no report told of. A guest is asked about
twice, and its server must not have changed in between: nothing is stopped for a guest that is just being restarted.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from renova.model.errors import NotNow
from renova.model.guest import FoundGuest, GuestChanged, PowerState
from renova.model.host import Host, HostState
from renova.model.ids import HostId, ServerId
from renova.model.server import Server, VmState
from renova.operations.cloud import Cloud
from renova.operations.duties.mending import mend
from renova.operations.parts.disks_follow import have_disks_follow, names_other_disks
from renova.operations.reboot import accept_reboot
from renova.operations.report import note_crash, take_report
from renova.operations.rounds import Tally
from renova.operations.stop import accept_stop, force_stop
from renova.operations.submission import for_owner
from renova.store import hosts, operations, rights, servers
from renova.store.database import Tx
from renova.store.servers import Standing

AT_ONCE = 32  # hosts that are asked at the same time
ANSWER_S = 30.0  # seconds a host has to answer

OFF = (PowerState.SHUTDOWN, PowerState.CRASHED)
UP = (PowerState.RUNNING, PowerState.PAUSED, PowerState.SUSPENDED)
# What of a server must be as it was before its host was asked.
Seen = tuple[int, VmState, PowerState]


async def follow_power_states(cloud: Cloud, tally: Tally) -> None:
    """Have servers show the power states of their guests, and stop those that should not run."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def look(host: Host) -> None:
        async with gate:
            with tally.apart(host=host.name):
                await _follow_host(cloud, tally, host)

    await asyncio.gather(*(look(host) for host in await hosts_to_ask(cloud)))


async def hosts_to_ask(cloud: Cloud) -> list[Host]:
    """List the hosts that are in their place and heard now."""
    every = await cloud.database.read(hosts.computing)
    return [host for host in every if host.state is HostState.UP and cloud.hosts.up(host.id)]


async def guests_of(cloud: Cloud, host: HostId) -> dict[ServerId, FoundGuest]:
    """Ask the host for its guests; `NotNow` when it does not answer in time."""
    try:
        async with asyncio.timeout(ANSWER_S):
            return {guest.server: guest for guest in await cloud.agents.guests(host)}
    except TimeoutError as error:
        raise NotNow("the host does not answer") from error


async def _follow_host(cloud: Cloud, tally: Tally, host: Host) -> None:
    before = await cloud.database.read(lambda tx: servers.standings(tx, host.id))
    tally.looked += len(before)
    idle = {server.id: server for server in before if server.task_state is None}
    first = await guests_of(cloud, host.id)
    await _follow_hangs(cloud, host, [guest for guest in first.values() if guest.hung and guest.server in idle])
    differing = [server for server in idle.values() if _differs(server, first.get(server.id))]
    if not differing:
        return
    again = await guests_of(cloud, host.id)
    for server in differing:
        guest = again.get(server.id)
        if guest == first.get(server.id):
            with tally.apart(host=host.name, server=server.id):
                what = await mend(cloud, partial(_follow, cloud, host=host, before=server, guest=guest))
                if what is not None:
                    tally.find(what, mended=True, host=host.name, server=server.id)


async def _follow_hangs(cloud: Cloud, host: Host, hung: Sequence[FoundGuest]) -> None:
    """Take what is found to hang as if it had been reported just now: when it was, somebody may have been busy."""
    changes = [GuestChanged(guest.server, guest.incarnation, guest.power, guest.hung) for guest in hung]
    if changes:
        await cloud.database.transact(partial(take_report, cloud, host=host.id, changes=changes))


def _power(server: Server | Standing, guest: FoundGuest | None) -> PowerState:
    if guest is not None:
        return guest.power
    # A server that is off may well have no definition on its host; one that is not has lost its guest.
    off = server.vm_state not in (VmState.ACTIVE, VmState.PAUSED) and server.power_state not in UP
    return server.power_state if off else PowerState.NOSTATE


def _differs(server: Standing, guest: FoundGuest | None) -> bool:
    power = _power(server, guest)
    other_disks = guest is not None and names_other_disks(server, guest)
    return other_disks or power is not server.power_state or _to_stop(server, power) is not None


def _to_stop(server: Server | Standing, power: PowerState) -> str | None:
    """Say why the server is to be stopped, or None."""
    if server.vm_state is VmState.ACTIVE and power in (*OFF, PowerState.SUSPENDED):
        return "its guest is off"
    if server.vm_state is VmState.STOPPED and power in UP:
        return "its guest runs"
    if server.vm_state is VmState.PAUSED and power in OFF:
        return "its guest is off"
    return None


def _seen(server: Server | Standing) -> Seen:
    return server.last_number, server.vm_state, server.power_state


def _follow(cloud: Cloud, tx: Tx, host: Host, before: Standing, guest: FoundGuest | None) -> str | None:
    """Have the server follow its guest, unless anything has changed since the host was asked."""
    now = servers.get(tx, before.id)
    right = rights.right(tx, before.id)
    place = hosts.get(tx, host.id)
    if now is None or now.task_state is not None or now.host != host.id or _seen(now) != _seen(before):
        return None
    if operations.active(tx, now.id) is not None or right is None or right.host != host.id:
        return None
    if guest is not None and guest.incarnation != right.incarnation:
        return None
    if place is None or place.state is not HostState.UP or place.resume:
        return None  # it has booted, and its servers are about to be started again
    power = _power(now, guest)
    told = f"server {now.vm_state}, guest {power.name.lower()}"
    other_disks = guest is not None and have_disks_follow(tx, now, guest)
    if other_disks:
        told = f"{told} on other disks than known"
    if power is not now.power_state:
        servers.change(tx, now.id, power_state=power)
    reason = _to_stop(now, power)
    if now.vm_state is VmState.ACTIVE and power is PowerState.NOSTATE and not rights.of_this_era(tx, right):
        accept_reboot(cloud, tx, for_owner(now, cloud.chance), now.id, hard=True)
        return f"{told}: it is started again, for its guest went in what the database has lost"
    if reason is None:
        return told if other_disks or power is not now.power_state else None
    if now.vm_state is VmState.ACTIVE:
        accept_stop(cloud, tx, for_owner(now, cloud.chance), now.id)
        if power is PowerState.CRASHED:
            note_crash(cloud, tx, now.id)
    else:
        force_stop(cloud, tx, for_owner(now, cloud.chance), now.id)
    return f"{told}: it is stopped, for {reason}"
