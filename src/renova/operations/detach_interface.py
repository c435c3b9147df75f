"""Detach a port from a server: its guest lets go of the nic, then the port is deleted if it was made for the server.

Shows no task state: what is asked for meanwhile waits. A guest that does not let go keeps the nic, and so does the
server.
"""

import msgspec

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.errors import Refused
from renova.model.host import Right
from renova.model.ids import PortId, ServerId
from renova.model.server import AttachedNetwork
from renova.operations.attach_volume import HAS_GUEST
from renova.operations.cloud import Cloud
from renova.operations.parts import run_guest
from renova.operations.parts.guest import attached_networks
from renova.operations.parts.notify import notify
from renova.operations.parts.permits import permitted
from renova.operations.parts.state import close_failed
from renova.operations.submission import Asked, Submission, Submitted, submit
from renova.operations.work import Work
from renova.store import actions, servers
from renova.store.database import Tx
from renova.wire.acts import AttachNic, DetachNic


class DetachInterface(msgspec.Struct, frozen=True):
    """Which port."""

    port: PortId
    mac: str
    attempts: int


def accept_detach_interface(
    cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId, port: PortId, mac: str
) -> Submitted:
    """Begin to detach the port, which is one of the server's nics."""
    server = permitted(tx, server_id, "detach_interface", asked)
    want = DetachInterface(port, mac, cloud.settings.detach_attempts)
    return submit(tx, cloud.operations, asked, server.id, Submission(DETACH_INTERFACE, "detach_interface", want))


async def detach_interface(run: Run, want: DetachInterface) -> None:
    right = await run(begin_detach, want)
    await run(take_nic, want, right)
    await run(take_port, want)
    networks = await run(look_at_networks, want)
    await run(mark_detached, want, networks)


@write()
def begin_detach(work: Work, tx: Tx, want: DetachInterface) -> Right:
    server = work.server_now(tx)
    if actions.open_event(tx, work.held.action, "compute_detach_interface", server.host_name):
        notify(work.cloud, tx, server.id, "instance.interface_detach.start")
    return work.right_here(tx)


@act()
async def take_nic(work: Work, want: DetachInterface, right: Right) -> None:
    """Have the guest let go, asking it again and again; `Refused` when it does not."""
    server = await work.server()
    if server.vm_state not in HAS_GUEST:
        return
    take = DetachNic(port=want.port, mac=want.mac, wait_s=work.cloud.settings.detach_wait)
    if not await run_guest.lets_go(work, right, take, want.attempts):
        raise Refused(f"the guest did not let go of port {want.port}")


@take_nic.undo
async def give_nic_back(work: Work, want: DetachInterface, right: Right) -> None:
    """Have the guest have it again, where it let go and the port is still the server's."""
    server = await work.server()
    nic = next((nic for nic in await work.cloud.networks.nics(server.id) if nic.port == want.port), None)
    if nic is not None and server.vm_state in HAS_GUEST:
        await work.command(right.host, right.incarnation, AttachNic(nic=nic))


@act()
async def take_port(work: Work, want: DetachInterface) -> None:
    await work.cloud.networks.take_port(work.held.server, want.port)


@act()
async def look_at_networks(work: Work, want: DetachInterface) -> tuple[AttachedNetwork, ...]:
    return await attached_networks(work)


@end()
def mark_detached(work: Work, tx: Tx, want: DetachInterface, networks: tuple[AttachedNetwork, ...]) -> None:
    servers.change(tx, work.held.server, networks=networks)
    notify(work.cloud, tx, work.held.server, "instance.interface_detach.end")
    actions.close_events(tx, work.held.action)


def settle_detach(work: Work, tx: Tx, want: DetachInterface, failure: Failure) -> None:
    """Leave the port with the server."""
    close_failed(tx, work.held.action, failure)


DETACH_INTERFACE = Story("detach_interface", 1, DetachInterface, detach_interface, settle_detach, quiet=True)
