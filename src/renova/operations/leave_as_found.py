"""What is left of an operation when a restored database did not know where, or as what, its server runs.

Called where a hold ends, in its transaction. The operation rests on a right that the hosts know to be over; told on,
it would command a host that never saw the newer one. Its server stays as it was found.
"""

from renova.hosts.eras import Believed
from renova.model.guest import PowerState
from renova.model.server import Server, TaskState, VmState
from renova.operations.clear_away import have_cleared_away
from renova.operations.cloud import Cloud
from renova.operations.create_image import unfinished_images
from renova.operations.delete import delete_anew
from renova.operations.heal_ports import have_ports_follow
from renova.operations.parts.disks_follow import have_disks_of, names_other_disks
from renova.operations.parts.moving import take_back_move
from renova.operations.parts.state import get_server
from renova.operations.rebuild import as_before_rebuild, leaves_other_disks, take_back_rebuild
from renova.operations.submission import supersede
from renova.store import migrations, operations, servers
from renova.store.database import Tx

REASON = "superseded: the database was restored, and the server was found to have gone on without this"
STATES = {PowerState.RUNNING: VmState.ACTIVE, PowerState.PAUSED: VmState.PAUSED}


def leave_as_found(cloud: Cloud, tx: Tx, found: Believed) -> None:
    """End the server's active operation, and leave the server, its disks and its ports, as it was found.

    A rebuild that has yet to bring its new guest up goes on where the old one was found: there the row names other
    disks because they are to be made. It ends where it has been done, as the new one was found, and where the old one
    has other disks than were known when it was asked for: should it fail now, it would put disks back that are gone.

    A deletion does not end: it goes on, or begins anew where the server was found.
    """
    server = servers.get(tx, found.server)
    if server is None:
        return
    if server.task_state is TaskState.DELETING:
        if found.newer:
            delete_anew(cloud, tx, server, REASON)
        return
    before = as_before_rebuild(tx, server)
    rebuilt = before is not None and found.guest.generation == server.root_generation
    unknown = not rebuilt and names_other_disks(before or server, found.guest)
    if found.newer or rebuilt or unknown:
        held = operations.active(tx, server.id)
        other_disks = leaves_other_disks(tx, server.id)
        if held is not None and not held.quiet:  # a quiet one asks for the right anew, or is refused and undone
            _end(cloud, tx, found, server)
        if unknown and as_before_rebuild(tx, server) is None:
            have_disks_of(tx, get_server(tx, server.id), found.guest)
            other_disks = True
        have_cleared_away(cloud, tx, server, other_disks=other_disks)
    have_ports_follow(cloud, tx, server)


def _end(cloud: Cloud, tx: Tx, found: Believed, server: Server) -> None:
    unfinished = unfinished_images(tx, server.id)
    if found.guest.generation not in (0, server.root_generation):
        take_back_rebuild(tx, server.id)
    supersede(tx, cloud.operations, server.id, REASON)
    have_cleared_away(cloud, tx, server, unfinished)
    take_back_move(cloud, tx, server)
    migration = migrations.active(tx, server.id)
    if migration is not None:
        migrations.move(tx, migration.id, migrations.ACTIVE, "error")
    state = STATES.get(found.power, VmState.STOPPED)
    launched = server.launched_at or tx.now
    servers.change(
        tx, server.id, task_state=None, vm_state=state, power_state=found.power, launched_at=launched, progress=0
    )
