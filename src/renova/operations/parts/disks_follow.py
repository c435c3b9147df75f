"""Which root disk a server has, where its row names another than its guest does.

So after a database was restored that has lost a rebuild, or one's end. With a row that names disks which are not there
any more, the server could not be started again.
"""

import structlog

from renova.model.guest import LIVES, FoundGuest
from renova.model.server import Server
from renova.store import servers
from renova.store.database import Tx
from renova.store.servers import Standing

log = structlog.get_logger()


def names_other_disks(server: Server | Standing, guest: FoundGuest) -> bool:
    """Say whether the server has other disks than its row names, by its newest guest, when no rebuild is under way.

    What a guest runs on is there. One that is off may name disks that were given up since it was defined, of which the
    database knows; where it does not know of them, they were made in what it has lost.
    """
    if guest.generation in (0, server.root_generation):
        return False
    return guest.power in LIVES or guest.generation > max(server.root_generation, server.burnt_generation)


def have_disks_follow(tx: Tx, server: Server, guest: FoundGuest) -> bool:
    """Have the row name the guest's disks, if it has others; says whether it has."""
    if not names_other_disks(server, guest):
        return False
    have_disks_of(tx, server, guest)
    return True


def have_disks_of(tx: Tx, server: Server, guest: FoundGuest) -> None:
    """Have the row name the guest's disks.

    What else a rebuild changes, the image above all, stays as the row has it: no host can say it.
    """
    name_disks(tx, server, guest.generation)


def name_disks(tx: Tx, server: Server, generation: int) -> None:
    """Have the row name the disks of this generation, which are there."""
    log.warning("server has other disks than known", server=server.id, known=server.root_generation, found=generation)
    burnt = max(server.root_generation, server.burnt_generation)
    servers.change(tx, server.id, root_generation=generation, burnt_generation=burnt)
