"""One more host dies once a simulated cloud is calm: its servers come back by themselves, wherever there is room."""

from collections.abc import Iterator

from renova.model.errors import Refused
from renova.model.ids import ServerId
from renova.model.recovery import RecoveryState
from renova.simulation.cloud import SimulatedCloud
from renova.simulation.hosts import SimulatedHost
from renova.store import hosts, recoveries, servers
from renova.store.database import Tx

WITHIN_S = 90.0  # virtual seconds after the power cut
LOOK_S = 1.0


async def lose_a_host(cloud: SimulatedCloud) -> str | None:
    """Cut the power of the host with the most guests, wait, and switch it on again.

    Returns its name; None where no host has any guests. `Refused` names the servers that did not come back.
    """
    rows = {row.name: row for row in await cloud.database.read(hosts.computing)}
    those = [host for name, host in cloud.hosts.items() if host.powered and rows[name].power_barred is None]
    lost = max(those, key=lambda host: (len(_guests(host)), host.name), default=None)
    if lost is None or not (guests := _guests(lost)):
        return None
    await cloud.cut_power(lost.name)
    until = cloud.clock.monotonic() + WITHIN_S

    def missing(tx: Tx) -> list[str]:
        return list(_missing(cloud, tx, lost.name, guests))

    while left := await cloud.database.read(missing):
        if cloud.clock.monotonic() > until:
            raise Refused(f"{WITHIN_S:g} s after the death of {lost.name}: {'; '.join(left)}")
        await cloud.clock.sleep(LOOK_S)
    await cloud.power_on(lost.name)
    return lost.name


def _guests(host: SimulatedHost) -> list[ServerId]:
    return sorted(host.hypervisor.executing())


def _missing(cloud: SimulatedCloud, tx: Tx, lost: str, guests: list[ServerId]) -> Iterator[str]:
    for guest in guests:
        row = servers.get(tx, guest)
        if row is None or (row.host_name != lost and cloud.running(guest) == [row.host_name]):
            continue
        known = recoveries.find(tx, server=guest, limit=1)
        how = f"{known[0].state}: {known[0].reason}" if known else "nothing is planned for it"
        if not (known and known[0].state is RecoveryState.FAILED and "No valid host" in known[0].reason):
            yield f"{guest} is not up ({how})"
