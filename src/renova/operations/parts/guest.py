"""Deriving a guest from the database: what a host is told to run, anew for every operation."""

from collections.abc import Sequence

import msgspec

from renova.model import watching
from renova.model.aggregate import DEFAULT_ZONE
from renova.model.block_device import BlockDevice
from renova.model.guest import Guest, Nic, Personal, PersonalFile
from renova.model.local_disks import disks_of
from renova.model.server import AttachedAddress, AttachedNetwork, Server
from renova.operations.parts import volumes
from renova.operations.work import Work
from renova.store import aggregates, block_devices, hosts, personal_files, rights
from renova.store.database import Tx


def guest_of(
    server: Server,
    incarnation: int,
    nics: tuple[Nic, ...],
    admin_pass: str | None = None,
    devices: Sequence[BlockDevice] = (),
    files: tuple[PersonalFile, ...] = (),
) -> Guest:
    """Return the guest of this server, in full."""
    return Guest(
        server=server.id,
        incarnation=incarnation,
        domain=server.domain,
        project=server.project,
        user=server.user,
        flavor_name=server.flavor.name,
        vcpus=server.flavor.vcpus,
        memory_mb=server.flavor.memory_mb,
        disks=disks_of(server, devices),
        nics=nics,
        volumes=volumes.disks_of(devices),
        watchdog=watching.watchdog(server.flavor.extra_specs, server.image_properties),
        guest_agent=watching.has_agent(server.image_properties),
        personal=Personal(
            hostname=server.hostname,
            name=server.name,
            public_keys={server.key.name: server.key.public_key} if server.key else {},
            metadata=server.metadata,
            user_data=server.user_data,
            admin_pass=admin_pass,
            availability_zone=server.availability_zone or DEFAULT_ZONE,
            files=files,
        ),
    )


async def current_guest(work: Work, incarnation: int, admin_pass: str | None = None) -> Guest:
    """Derive the guest from what the database and the network service say now."""

    def read(tx: Tx) -> tuple[Server, list[BlockDevice], tuple[PersonalFile, ...]]:
        server, devices = _where_it_may_run(tx, work.server_now(tx)), block_devices.of_server(tx, work.held.server)
        return server, devices, personal_files.of_server(tx, work.held.server)

    server, devices, files = await work.cloud.database.read(read)
    return guest_of(server, incarnation, await work.cloud.networks.nics(server.id), admin_pass, devices, files)


def _where_it_may_run(tx: Tx, server: Server) -> Server:
    """Return the server in the zone of the host that has the right to it: while it moves, its row names the old one."""
    right = rights.right(tx, server.id)
    if right is None:
        return server
    return msgspec.structs.replace(server, availability_zone=aggregates.zone_of(tx, right.host))


async def attached_networks(work: Work) -> tuple[AttachedNetwork, ...]:
    """Return the server's networks and addresses as its row keeps them for lists."""
    found: dict[str, AttachedNetwork] = {}
    for nic in await work.cloud.networks.nics(work.held.server):
        addresses = tuple(AttachedAddress(ip=each.ip, mac=nic.mac, port=nic.port) for each in nic.addresses)
        known = found.get(nic.network) or AttachedNetwork(nic.network, nic.network_name, ())
        found[nic.network] = AttachedNetwork(known.network, known.name, known.addresses + addresses)
    return tuple(found.values())


async def bind_all_ports(work: Work, host_name: str) -> None:
    """Bind the server's ports to the host of this name."""

    def zone(tx: Tx) -> str:
        host = hosts.by_name(tx, host_name)
        return aggregates.zone_of(tx, host.id) if host else DEFAULT_ZONE

    elsewhere = [port for port in await work.cloud.networks.ports(work.held.server) if port.host != host_name]
    if elsewhere:
        of_host = await work.cloud.database.read(zone)
        for port in elsewhere:
            await work.cloud.networks.bind(port.id, host_name, of_host)
