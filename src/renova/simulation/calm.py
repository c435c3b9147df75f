"""What must be so once faults have stopped and a simulated cloud has been calm: everything is final, and true.

`disagreements` lists all that is not, in sentences; a run waits until there are none, and fails when there still are
some after `CALM_S`. It compares the database with the hosts themselves, for nothing that one of them says of itself
can prove it right.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

from renova.model.guest import PowerState
from renova.model.host import HostState
from renova.model.ids import ImageId, ServerId, VolumeId
from renova.model.local_disks import disks_of, has_any
from renova.model.server import Server, VmState
from renova.model.volume import NbdExport
from renova.partners.volume.statuses import ERRORS
from renova.simulation.asking import Promise
from renova.simulation.hosts import SimulatedHost, SimulatedStorageHost
from renova.simulation.surroundings import MemoryImages
from renova.store import (
    actions,
    block_devices,
    cluster,
    drains,
    hosts,
    migrations,
    notices,
    operations,
    ports,
    recoveries,
    restarts,
    rights,
    servers,
    volume_attachments,
    volumes,
)
from renova.store.database import Tx
from renova.store.placement import allocations, inventories

CALM_S = 300.0  # virtual seconds in which all must have become final
RUNNING, OFF = (VmState.ACTIVE,), (VmState.STOPPED, VmState.SUSPENDED, VmState.PAUSED)
AT_HOME = (*RUNNING, *OFF)  # states of a server that has its guest on its host
RESTING_VOLUME = ("available", "in-use", *ERRORS.values())


class World(Protocol):
    """What there is beside the database."""

    hosts: dict[str, SimulatedHost]
    storage_hosts: dict[str, SimulatedStorageHost]
    images: MemoryImages


def disagreements(
    world: World,
    tx: Tx,
    promises: Sequence[Promise],
    *,
    ordered: Collection[ImageId] | None = None,
    lost: bool = False,
    deleted: Collection[ServerId] = (),
    forgotten: Collection[ImageId] = (),
) -> Iterator[str]:
    """Name everything that is not final, or not true.

    `ordered`: the images that operations were ever to make; None: each that there is.
    `lost`: the database has lost commits, so hosts may have what it never heard of. Nothing of that is destroyed on a
    guess, an operator is told: guests, ports and volumes that nobody knows are not asked for, nor disks beside those
    that a server's row names. A host that was dead when the hold ended, where the server had come in what was lost, has
    set its disk aside, which may be the only one. `deleted` are the servers that were deleted, be it in what was lost;
    `forgotten` the images that operations, or steps, may have been lost of: copies of disks made for them go with their
    servers.
    """
    if (hold := cluster.get(tx).hold) is not None:
        yield f"the cluster is on hold: {hold}"
    known = {server.id: server for server in servers.find(tx) if not server.deleted}
    yield from _hosts(world, tx, forgotten)
    yield from _operations(tx, promises)
    if waiting := notices.waiting(tx):
        yield f"{waiting} events were told to nobody yet"
    for server in known.values():
        yield from _server(world, tx, server, _runs(server, was_deleted=server.id in deleted) if lost else None)
        if server.vm_state in AT_HOME and server.id not in (deleted if lost else ()):
            yield from _root_disk(world, server, lost=lost)
    if lost:
        return
    for server in known.values():
        if server.vm_state in AT_HOME:
            yield from _ports(world, tx, server)
    yield from _strays(world, tx, known)
    yield from _volumes(world, tx)
    yield from _images(world, ordered)


def _hosts(world: World, tx: Tx, forgotten: Collection[ImageId]) -> Iterator[str]:
    for host in hosts.every(tx):
        if host.state is not HostState.UP:
            yield f"host {host.name} is {host.state}"
        for debt in rights.debts_of(tx, host.id):
            yield f"host {host.name} still owes the clean-up of {debt.server}: {debt.trouble}"
    for provider, resource, used, total in inventories.miscounted(tx):
        yield f"{used} {resource} of {provider} are counted as used, {total} are held"
    for storage in {id(host.storage): host.storage for host in world.hosts.values()}.values():
        if left := sorted(copy for copy in storage.copies if copy[1] not in forgotten):
            yield f"copies of disks are left in {storage.identity}: {left}"


def _operations(tx: Tx, promises: Sequence[Promise]) -> Iterator[str]:
    for held in operations.unfinished(tx):
        yield f"operation {held.id} ({held.story} of {held.server}) is not at its end"
    for event in actions.open_events(tx):
        yield f"event {event.event} of action {event.action} is open"
    for crash in restarts.pending(tx):
        yield f"of the crash of {crash.server} at {crash.crashed_at} nothing is decided"
    for recovery in recoveries.unsettled(tx):
        yield f"recovery {recovery.id} of {recovery.server} is {recovery.state}: {recovery.reason}"
    for migration in migrations.find(tx):
        if migration.status not in ("completed", "confirmed", "failed", "error", "cancelled"):
            yield f"migration {migration.id} of {migration.server} is {migration.status}"
    written = actions.requests(tx)
    deleted = {server for (server, _), action in written.items() if action == "delete"}
    for promise in promises:
        if (
            promise.action == "delete"
            and promise.server in deleted
            and servers.get(tx, ServerId(promise.server)) is None
        ):
            continue  # deleting what is being deleted changes nothing; that it is gone is what was promised
        if (promise.server, promise.request) not in written:
            yield f"{promise.action} of {promise.server} was accepted ({promise.request}), and is not written down"


def _runs(server: Server, *, was_deleted: bool) -> bool | None:
    """Say whether the server's guest runs by what it says of its power after a loss; None: as its state has it.

    As in Nova, nobody undoes what a user may have wanted in what was lost: a pause, that it goes on, or a delete.
    """
    match server.vm_state, server.power_state:
        case VmState.ACTIVE, PowerState.PAUSED:
            return False
        case VmState.ACTIVE, PowerState.NOSTATE if was_deleted:
            return False
        case VmState.PAUSED | VmState.SUSPENDED, PowerState.RUNNING:
            return True
    return None


def _server(world: World, tx: Tx, server: Server, runs: bool | None) -> Iterator[str]:
    """Compare the server with the hosts. `runs`: whether its guest does, where its state does not say."""
    running = [name for name, host in world.hosts.items() if host.hypervisor.executes(server.id) is not None]
    who = f"{server.name} ({server.vm_state})"
    if server.task_state is not None:
        yield f"{who} is left in {server.task_state}"
    if len(running) > 1:
        yield f"{who} runs on {running}"
    if server.vm_state in AT_HOME:
        at = [server.host_name] if (server.vm_state in RUNNING if runs is None else runs) else []
        hangs = server.vm_state in RUNNING and _hangs(world, server)
        left = hangs and _is_left_hanging(tx, server)
        if running != at and not (left and not running):  # its watchdog may have paused it
            yield f"{who} runs on {running}, not on {at}"
        elif hangs and not left:
            yield f"{who} hangs on {server.host_name}"
    if server.vm_state is VmState.ERROR and set(running) - {server.host_name}:
        yield f"{who} runs on {running}, and lives on {server.host_name}"
    if server.vm_state not in (*AT_HOME, VmState.ERROR):
        yield f"{who} is in no final state"
    if server.vm_state is VmState.ERROR and server.fault is None:
        yield f"{who} has no reason"
    yield from _holdings(tx, server, who)
    right = rights.right(tx, server.id)
    if right is not None and right.host != server.host:
        yield f"the right to {who} is with {right.host}, but it lives on {server.host_name}"


def _hangs(world: World, server: Server) -> bool:
    """Say whether the server's guest hangs, and its host can know it."""
    home = world.hosts.get(server.host_name or "")
    return home is not None and home.hypervisor.hangs_visibly(server.id)


def _is_left_hanging(tx: Tx, server: Server) -> bool:
    """Say whether it is to stay so: it was given up, and says so, or somebody is at work at its host."""
    given_up = server.fault is not None and "is not started again by itself" in server.fault.message
    return given_up or (server.host is not None and drains.get(tx, server.host) is not None)


def _root_disk(world: World, server: Server, *, lost: bool) -> Iterator[str]:
    """Ask for the disks that the server's row names, and that its guest runs on no others."""
    home = world.hosts[server.host_name or ""]
    disk = home.storage.disks.get((server.id, server.root_generation))
    if disk is None and has_any(disks_of(server)) and not (lost and (_is_aside(world, server) or _newer(home, server))):
        yield f"disk {server.root_generation} of {server.name} ({server.vm_state}) is not in {home.storage.identity}"
    if disk is not None and home.hypervisor.executes(server.id) is not None and not home.hypervisor.has_open(disk):
        yield f"{server.name} ({server.vm_state}) does not run on its disk {server.root_generation}"


def _newer(home: SimulatedHost, server: Server) -> bool:
    """Say whether it is off, and there are newer disks than its row names: who brings it up next is told of them."""
    newer = any(of == server.id and generation > server.root_generation for of, generation in home.storage.disks)
    return newer and home.hypervisor.executes(server.id) is None


def _is_aside(world: World, server: Server) -> bool:
    """Say whether disks of the server are kept that a host has set aside: `renova host aside` lists them."""
    return any(aside.server == server.id for host in world.hosts.values() for aside, _ in host.storage.asides)


def _holdings(tx: Tx, server: Server, who: str) -> Iterator[str]:
    held = allocations.held(tx, server.id)
    where = {each.provider for each in held}
    wanted = set() if server.host is None else {server.host}
    if where != wanted:
        yield f"{who} holds something of {sorted(where)}, and lives on {server.host_name}"
        return
    amounts = {each.resource_class: each.amount for each in held}
    flavor = server.flavor
    if held and (amounts.get("VCPU"), amounts.get("MEMORY_MB")) != (flavor.vcpus, flavor.memory_mb):
        yield f"{who} holds {amounts}, and needs {flavor.vcpus} VCPU and {flavor.memory_mb} MB"


def _ports(world: World, tx: Tx, server: Server) -> Iterator[str]:
    who = f"{server.name} ({server.vm_state})"
    wanted = "ACTIVE" if server.vm_state in (*RUNNING, VmState.PAUSED) else "DOWN"
    its = ports.of_server(tx, server.id)
    for port in its:
        if port.host != server.host_name:
            yield f"port {port.id} of {who} is bound to {port.host}, not {server.host_name}"
        if port.status != wanted:
            yield f"port {port.id} of {who} is {port.status}"
    if server.vm_state in RUNNING:
        host = world.hosts[server.host_name or ""]
        has = sorted(nic.port for nic in host.hypervisor.nics(server.id))
        if has != (wants := sorted(port.id for port in its)):
            yield f"the guest of {who} has the nics {has}, its ports are {wants}"


def _strays(world: World, tx: Tx, known: Mapping[ServerId, Server]) -> Iterator[str]:
    """Name what is somewhere and belongs to nobody there."""
    its_port = {port.id: port for port in ports.find(tx)}
    for port in its_port.values():
        if port.device_id and port.device_id not in known:
            yield f"port {port.id} is that of a server that is gone"
    for name, host in world.hosts.items():
        for server in host.hypervisor.domains():
            home = known[server].host_name if server in known else None
            if home != name:
                yield f"a guest of {known[server].name if server in known else server} is on {name}, not on {home}"
            elif host.hypervisor.executes(server) is not None and rights.right(tx, server) is None:
                yield f"{known[server].name} runs on {name}, and nobody has the right to it"
        # Detached from a guest that is off, a nic is unplugged when that starts or goes: its host has noted it.
        noted = {
            nic.port for server in known.values() if server.host == host.id for nic in host.journal.page(server.id).nics
        }
        for plugged in sorted({port for those in host.network.segments.values() for port in those} - noted):
            bound = its_port[plugged].host if plugged in its_port else None
            # Which nics of a former guest are plugged, only the journal knows.
            if bound != name and not host.journal.losses:
                yield f"port {plugged} is plugged on {name}, and bound to {bound or 'nothing'}"
        for held in allocations.held_of(tx, host.id):
            if held.consumer not in known:
                yield f"{held.consumer} holds something of {name}, and is no server"
    identities = {name: host.storage.identity for name, host in world.hosts.items()}
    for storage in {id(host.storage): host.storage for host in world.hosts.values()}.values():
        for server, generation in storage.disks:
            row = known.get(server)
            if row is None or row.host_name is None:
                yield f"disk {generation} of {server} is left in {storage.identity}"
            elif identities[row.host_name] != storage.identity:
                yield f"disk {generation} of {row.name} is in {storage.identity}; it lives on {row.host_name}"
            elif generation != row.root_generation:
                yield f"another disk of {row.name}, {generation}, is left beside its disk {row.root_generation}"
    for server, right in rights.every(tx).items():
        if server not in known:
            yield f"somebody has the right to {server} ({right}), which is gone"


def _images(world: World, ordered: Collection[ImageId] | None) -> Iterator[str]:
    """Name images that an operation was to make and that are not whole.

    One that is described before its request is accepted stays if the controller dies in between: a duty removes it,
    later than anybody waits here.
    """
    for image, _ in world.images.images.values():
        if image.status != "active" and (ordered is None or image.id in ordered):
            yield f"image {image.id} will never be whole: it is {image.status}"


def _volumes(world: World, tx: Tx) -> Iterator[str]:
    """Compare devices, attachments, exports and what guests have: one attachment a volume, and one writer."""
    devices = [device for device in block_devices.every(tx) if device.is_volume]
    its = {device.volume: device for device in devices}
    served = {
        name: volume
        for host in world.storage_hosts.values()
        for volume, exports in host.volumes.served.items()
        for name in exports
    }
    expected: dict[str, VolumeId] = {}
    rows = {row.id: row for row in volumes.every(tx, None)}
    for volume in rows.values():
        attachments = volume_attachments.of_volume(tx, volume.id)
        expected |= {each.export: volume.id for each in attachments if each.export is not None}
        device = its.get(volume.id)
        if volume.status not in RESTING_VOLUME:
            yield f"volume {volume.id} is left {volume.status}"
        if volume.version > volume.confirmed:
            yield f"volume {volume.id} is not as it is wanted: {volume.confirmed} of {volume.version}"
        if device is None and attachments:
            yield f"volume {volume.id} is attached to a server that does not have it"
        if device is not None and (has := [each.id for each in attachments]) != [device.attachment]:
            yield f"volume {volume.id} has the attachments {has}, wanted {device.attachment}"
        if device is not None and (device.next_attachment is not None or not device.attached):
            yield f"the attachment of volume {volume.id} was never finished"
    for device in devices:
        if device.volume not in rows:
            yield f"{device.server} has volume {device.volume}, which is gone"
    for name in sorted(set(served) ^ set(expected)):
        what = "is served, which nobody wants" if name in served else "is not served, which somebody wants"
        yield f"volume {served.get(name) or expected.get(name)} {what}"
    for storage_host in world.storage_hosts.values():
        for kept in sorted(set(storage_host.volumes.volumes) - set(rows)):
            yield f"volume {kept} is left on {storage_host.name}"
    for host_name, host in world.hosts.items():
        for server in host.hypervisor.executing():
            disks = host.hypervisor.volumes(server)
            reached = sorted(disk.volume for disk in disks)
            wanted = sorted(str(device.volume) for device in devices if device.server == server)
            if reached != wanted:
                yield f"the guest of {server} on {host_name} has volumes {reached}, wanted {wanted}"
            for disk in disks:
                if isinstance(disk.connection, NbdExport) and disk.connection.name not in served:
                    yield f"the guest of {server} on {host_name} cannot reach volume {disk.volume}"
