"""Attach a port to a server: give it the port, bound to its host, and give its guest the nic.

Shows no task state: what is asked for meanwhile waits. A running guest gets the nic at once, one that is off with its
next start. When it fails, a port that was made is gone again, and one of the user's is free; unless the guest has the
nic by then and does not let go of it: then the server keeps the port, so that nobody else gets its addresses.
"""

from functools import partial

import msgspec

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.errors import Broken, Conflict
from renova.model.host import Right
from renova.model.ids import PortId, ServerId
from renova.model.network import Port
from renova.model.server import AttachedNetwork, VmState
from renova.operations.attach_volume import HAS_GUEST
from renova.operations.cloud import Cloud
from renova.operations.parts import run_guest
from renova.operations.parts.guest import attached_networks, bind_all_ports
from renova.operations.parts.notify import notify
from renova.operations.parts.permits import permitted
from renova.operations.parts.state import close_failed
from renova.operations.stop import FOREVER
from renova.operations.submission import Asked, Submission, Submitted, submit
from renova.operations.work import Work
from renova.partners.network import PortWish
from renova.store import actions, operations, ports, rights, servers
from renova.store.database import Tx
from renova.wire.acts import AttachNic, DetachNic


class AttachInterface(msgspec.Struct, frozen=True):
    """Which port, and which number its nic is to have: told again, the same wish gives the same port."""

    wish: PortWish
    nic: int


class Given(msgspec.Struct, frozen=True):
    """The port that the server was given."""

    port: PortId
    mac: str


def accept_attach_interface(
    cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId, wish: PortWish
) -> tuple[Submitted, int]:
    """Begin to attach the port; returns with the operation the number that its nic will have."""
    server = permitted(tx, server_id, "attach_interface", asked)
    nic = max([ports.next_nic(tx, server.id), *(taken + 1 for taken in _taken(tx, server.id))])
    story = Submission(ATTACH_INTERFACE, "attach_interface", AttachInterface(wish, nic))
    return submit(tx, cloud.operations, asked, server.id, story), nic


def _taken(tx: Tx, server: ServerId) -> list[int]:
    """Return the numbers that nics will have which are still to be attached."""
    waiting = operations.under_way(tx, server)
    wants = [held.want for held in waiting if held.story == ATTACH_INTERFACE.name]
    return [msgspec.json.decode(want, type=AttachInterface).nic for want in wants]


async def attach_interface(run: Run, want: AttachInterface) -> None:
    right = await run(begin_attach, want)
    given = await run(give_port, want)
    await run(give_nic, want, right, given)
    networks = await run(look_at_networks, want)
    await run(mark_attached, want, networks)


@write()
def begin_attach(work: Work, tx: Tx, want: AttachInterface) -> Right:
    server = work.server_now(tx)
    if actions.open_event(tx, work.held.action, "compute_attach_interface", server.host_name):
        notify(work.cloud, tx, server.id, "instance.interface_attach.start")
    if server.vm_state not in (*HAS_GUEST, VmState.STOPPED):
        raise Conflict(f"Cannot 'attach_interface' instance {server.id} while it is in vm_state {server.vm_state}")
    return work.right_here(tx)


@act()
async def give_port(work: Work, want: AttachInterface) -> Given:
    """Have the port be the server's, bound to its host."""
    server = await work.server()
    zone = server.availability_zone or "nova"
    port = await work.cloud.networks.give_port(server.id, server.project, want.nic, want.wish, zone, work.demand_ours)
    await bind_all_ports(work, server.host_name or "")
    return Given(port.id, port.mac)


@give_port.undo
async def take_port(work: Work, want: AttachInterface) -> None:
    """Have the port free again, or gone; it stays where the guest still has it."""
    for port in await work.cloud.networks.ports(work.held.server):
        if await _is_nic(work, port.id, want.nic):  # one wished for may be another nic, by a request before this
            if await _is_held_on_to(work, port):
                await work.cloud.networks.settle(work.held.server, active=True)
                networks = await attached_networks(work)
                await work.note(partial(_keep, work, networks=networks))
            else:
                await work.cloud.networks.take_port(work.held.server, port.id)


async def _is_held_on_to(work: Work, port: Port) -> bool:
    server = await work.server()
    right = await work.cloud.database.read(lambda tx: rights.right(tx, server.id))
    if server.vm_state not in HAS_GUEST or right is None:
        return False
    take = DetachNic(port=port.id, mac=port.mac, wait_s=0)
    return await run_guest.holds_on(work, right.host, right.incarnation, take)


def _keep(work: Work, tx: Tx, networks: tuple[AttachedNetwork, ...]) -> None:
    servers.change(tx, work.held.server, networks=networks)


async def _is_nic(work: Work, port: PortId, number: int) -> bool:
    found = await work.cloud.database.read(lambda tx: ports.of_nic(tx, work.held.server, number))
    return found is not None and found.id == port


@act(patience=FOREVER)
async def give_nic(work: Work, want: AttachInterface, right: Right, given: Given) -> None:
    """Give the nic to the guest, if there is one.

    Its host is waited for, however long it is away: the guest may have the nic, and go on with the port's addresses.
    """
    server = await work.server()
    if server.vm_state not in HAS_GUEST:
        return
    nics = await work.cloud.networks.nics(server.id)
    nic = next((nic for nic in nics if nic.port == given.port), None)
    if nic is None:
        raise Broken(f"port {given.port} is no longer the server's")
    await work.command(right.host, right.incarnation, AttachNic(nic=nic))
    await work.cloud.networks.settle(server.id, active=True)


@give_nic.undo
async def take_nic(work: Work, want: AttachInterface, right: Right, given: Given) -> None:
    if (await work.server()).vm_state in HAS_GUEST:
        take = DetachNic(port=given.port, mac=given.mac, wait_s=work.cloud.settings.detach_wait)
        await work.command(right.host, right.incarnation, take)


@act()
async def look_at_networks(work: Work, want: AttachInterface) -> tuple[AttachedNetwork, ...]:
    return await attached_networks(work)


@end()
def mark_attached(work: Work, tx: Tx, want: AttachInterface, networks: tuple[AttachedNetwork, ...]) -> None:
    servers.change(tx, work.held.server, networks=networks)
    notify(work.cloud, tx, work.held.server, "instance.interface_attach.end")
    actions.close_events(tx, work.held.action)


def settle_attach(work: Work, tx: Tx, want: AttachInterface, failure: Failure) -> None:
    """Leave the server as undoing has left it."""
    notify(work.cloud, tx, work.held.server, "instance.interface_attach.error", failure)
    close_failed(tx, work.held.action, failure)


ATTACH_INTERFACE = Story("attach_interface", 1, AttachInterface, attach_interface, settle_attach, quiet=True)
