"""Delete a server: have its guest and disks gone, give its ports and claims back.

Submitted by `api.compute.servers`; allowed in any state, and supersedes whatever is under way: the newer number makes
its host end that first. A host that is away does not delay the user: it owes the clean-up, and pays before it is up.
So does the host where the server lives, if another has the right to it: what it kept for the server goes with it.
"""

import msgspec

from renova.engine.operation import Failure, Run, Story, act, end
from renova.model.guest import PowerState
from renova.model.ids import HostId, ImageId, ServerId
from renova.model.server import Server, TaskState, VmState
from renova.operations.cloud import Cloud
from renova.operations.create_image import (
    have_no_unfinished_images,
    remove_unfinished_images,
    unfinished_images,
)
from renova.operations.parts import volumes
from renova.operations.parts.moving import take_back_move, turn_arrival_away
from renova.operations.parts.notify import notify
from renova.operations.parts.permits import permitted
from renova.operations.parts.run_guest import drop_copy, remove
from renova.operations.parts.state import close_failed, fault
from renova.operations.submission import Asked, Submission, drop_waiting, for_owner, submit, supersede
from renova.operations.work import Work
from renova.store import actions, block_devices, hosts, migrations, personal_files, rights, servers
from renova.store.database import Tx
from renova.store.placement import claims


class DeleteServer(msgspec.Struct, frozen=True):
    """Where the server's guest may be."""

    host: HostId | None
    incarnation: int
    unfinished_images: tuple[ImageId, ...] = ()  # that were being made of it


def accept_delete(cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId) -> None:
    """Begin to delete the server; deleting one that is being deleted is fine and changes nothing."""
    server = permitted(tx, server_id, "delete", asked)
    if server.task_state is not TaskState.DELETING:
        _begin(cloud, tx, asked, server, "superseded: the server is being deleted")


def delete_anew(cloud: Cloud, tx: Tx, server: Server, reason: str) -> None:
    """Begin the server's deletion anew, which is under way and does not know where the server is.

    In the owner's name: who asked for the one that ends, for this reason, is told by that one's action.
    """
    _begin(cloud, tx, for_owner(server, cloud.chance), server, reason)


def _begin(cloud: Cloud, tx: Tx, asked: Asked, server: Server, reason: str) -> None:
    """Begin to delete the server in place of what is under way, which ends for this reason."""
    unfinished = unfinished_images(tx, server.id)
    supersede(tx, cloud.operations, server.id, reason, at_once=True)
    servers.change(tx, server.id, task_state=TaskState.DELETING, progress=0)
    turn_arrival_away(tx, server.id)
    right = rights.right(tx, server.id)
    want = DeleteServer(right.host if right else None, rights.incarnation(tx, server.id), unfinished)
    held = submit(tx, cloud.operations, asked, server.id, Submission(DELETE, "delete", want))
    actions.open_event(tx, held.action, "compute_terminate_instance", server.host_name)
    notify(cloud, tx, server.id, "instance.delete.start")
    if right is not None:
        notify(cloud, tx, server.id, "instance.shutdown.start")


async def delete_server(run: Run, want: DeleteServer) -> None:
    await run(remove_guest, want)
    await run(take_ports, want)
    if want.unfinished_images:
        await run(remove_unfinished_images, want.unfinished_images)
    await run(give_volumes_back, want)
    await run(mark_deleted, want)


@act()
async def remove_guest(work: Work, want: DeleteServer) -> None:
    """Have nothing of the server on its host, or have the host owe it if it is away."""
    if want.host is None:
        return
    if not await remove(work, want.host, want.incarnation, disks=True):
        await work.note(lambda tx: rights.owe(tx, want.host or HostId(""), work.held.server, want.incarnation + 1))


@remove_guest.undo
async def take_back_images(work: Work, want: DeleteServer) -> None:
    """Have nothing left of images that were being made: they were to go with the disks, which may stay now.

    Here, for whatever step fails, this one was begun.
    """
    if want.host is not None:
        for image in want.unfinished_images:
            await drop_copy(work, want.host, want.incarnation, image)
    await have_no_unfinished_images(work, want.unfinished_images)


@act()
async def take_ports(work: Work, want: DeleteServer) -> None:
    await work.cloud.networks.take_ports(work.held.server)


@act()
async def give_volumes_back(work: Work, want: DeleteServer) -> None:
    """Have its volumes free: cut off, for certain, from wherever it ran. Those that are to go with it are deleted."""
    await volumes.release(work, delete=lambda device: device.delete_on_termination)


@end()
def mark_deleted(work: Work, tx: Tx, want: DeleteServer) -> None:
    if want.host is not None:
        notify(work.cloud, tx, work.held.server, "instance.shutdown.end")
    migration = migrations.active(tx, work.held.server)
    if migration is not None:
        migrations.move(tx, migration.id, migrations.ACTIVE, "failed")
    drop_waiting(tx, work.held.server, "the server was deleted")
    home = work.server_now(tx).host
    if home not in (None, want.host) and hosts.get(tx, home) is not None:
        # Back while its evacuation was under way, or after that failed, it was told to keep the disk.
        rights.owe(tx, home, work.held.server, want.incarnation + 1)
    block_devices.forget(tx, work.held.server)
    rights.release(tx, work.held.server)
    claims.release(tx, work.held.server)
    personal_files.put(tx, work.held.server, ())
    work.cloud.fleet.stale()
    servers.change(
        tx,
        work.held.server,
        vm_state=VmState.DELETED,
        task_state=None,
        power_state=PowerState.NOSTATE,
        deleted=True,
        terminated_at=tx.now,
    )
    notify(work.cloud, tx, work.held.server, "instance.delete.end")
    actions.close_events(tx, work.held.action)


def settle_delete(work: Work, tx: Tx, want: DeleteServer, failure: Failure) -> None:
    """Leave the server in ERROR with the reason: it can be deleted again."""
    server = work.server_now(tx)
    if want.host not in (None, server.host):
        # It was on its way there, and lives on where it was: nothing of it is to stay.
        rights.owe(tx, want.host, server.id, want.incarnation + 1)
    take_back_move(work.cloud, tx, server)
    servers.change(tx, work.held.server, vm_state=VmState.ERROR, task_state=None, fault=fault(tx, failure))
    close_failed(tx, work.held.action, failure)


DELETE = Story("delete", 1, DeleteServer, delete_server, settle_delete)
