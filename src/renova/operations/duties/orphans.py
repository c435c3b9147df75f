"""Guests that nobody may run: of servers that live elsewhere, which go; and of no known server, which are reported.

Nothing of an unknown server is destroyed on a guess: its guest goes, with its disks, only where the operator has said
so (`orphan_guests = "destroy"`).
"""

from renova.hosts.registration import outdated
from renova.model.guest import FoundGuest
from renova.model.host import Host
from renova.model.ids import ServerId
from renova.operations.cloud import Cloud
from renova.operations.duties.mending import mend
from renova.operations.duties.power_states import guests_of, hosts_to_ask
from renova.operations.rounds import Tally
from renova.store import operations, rights
from renova.store.database import Tx


async def find_orphans(cloud: Cloud, tally: Tally) -> None:
    """Look for guests that should not be where they are."""
    for host in await hosts_to_ask(cloud):
        with tally.apart(host=host.name):
            for guest in (await guests_of(cloud, host.id)).values():
                tally.looked += 1
                with tally.apart(host=host.name, server=guest.server):
                    await _look(cloud, tally, host, guest)


async def _look(cloud: Cloud, tally: Tally, host: Host, guest: FoundGuest) -> None:
    what = await mend(cloud, lambda tx: _judge(cloud, tx, host, guest))
    if what is None:
        return
    known, owed = what
    text = "guest of a server that lives elsewhere" if known else "guest of no known server"
    tally.find(f"{text}, {guest.power.name.lower()}", mended=owed, host=host.name, server=guest.server)


def _judge(cloud: Cloud, tx: Tx, host: Host, guest: FoundGuest) -> tuple[bool, bool] | None:
    """Say whether the server is known and whether its guest will go; None when it may be here."""
    if rights.owes(tx, host.id, guest.server) or _is_worked_on(tx, guest.server):
        return None
    if rights.incarnation(tx, guest.server) == 0:
        destroy = cloud.settings.orphan_guests == "destroy"
        if destroy:
            rights.owe(tx, host.id, guest.server, guest.incarnation + 1)
        return False, destroy
    # As when a host says hello: what it has no right to run goes.
    if (below := outdated(tx, host.id, guest)) is None:
        return None
    rights.owe(tx, host.id, guest.server, below)
    return True, True


def _is_worked_on(tx: Tx, server: ServerId) -> bool:
    return operations.active(tx, server) is not None
