"""Deriving a guest from the database: what a host is told to run, anew for every operation."""

from renova.model.guest import Guest, LocalDisks, Nic, Personal, RootDisk
from renova.model.ids import ImageId
from renova.model.server import AttachedAddress, AttachedNetwork, Server
from renova.operations.work import Work


def disks_of(server: Server) -> LocalDisks:
    """Return the disks that the server has as files of its host's."""
    root = None
    if server.image is not None:
        root = RootDisk(
            image=ImageId(server.image),
            image_format=server.image_format,
            image_bytes=server.image_bytes,
            image_sha256=server.image_sha256,
            size_gb=server.flavor.root_gb,
        )
    ephemerals = (server.flavor.ephemeral_gb,) if server.flavor.ephemeral_gb else ()
    return LocalDisks(server.root_generation, root, ephemerals, server.flavor.swap_mb)


def guest_of(server: Server, incarnation: int, nics: tuple[Nic, ...], admin_pass: str | None = None) -> Guest:
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
        disks=disks_of(server),
        nics=nics,
        personal=Personal(
            hostname=server.hostname,
            name=server.name,
            public_keys={server.key.name: server.key.public_key} if server.key else {},
            metadata=server.metadata,
            user_data=server.user_data,
            admin_pass=admin_pass,
            availability_zone=server.availability_zone or "nova",
        ),
    )


async def current_guest(work: Work, incarnation: int, admin_pass: str | None = None) -> Guest:
    """Derive the guest from what the database and the network service say now."""
    server = await work.server()
    return guest_of(server, incarnation, await work.cloud.networks.nics(server.id), admin_pass)


async def attached_networks(work: Work) -> tuple[AttachedNetwork, ...]:
    """Return the server's networks and addresses as its row keeps them for lists."""
    found: dict[str, AttachedNetwork] = {}
    for port in await work.cloud.networks.ports(work.held.server):
        addresses = tuple(AttachedAddress(ip=fixed.ip, mac=port.mac, port=port.id) for fixed in port.fixed_ips)
        if (known := found.get(port.network)) is not None:
            found[port.network] = AttachedNetwork(known.network, known.name, known.addresses + addresses)
        else:
            network = await work.cloud.networks.network(port.network, None)
            found[port.network] = AttachedNetwork(port.network, network.name if network else "", addresses)
    return tuple(found.values())


async def bind_all_ports(work: Work, host_name: str) -> None:
    """Bind the server's ports to the host of this name."""
    server = await work.server()
    for port in await work.cloud.networks.ports(server.id):
        if port.host != host_name:
            await work.cloud.networks.bind(port.id, host_name, server.availability_zone or "nova")
