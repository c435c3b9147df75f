"""POST /servers: everything is checked, then all servers of the request are written down in one transaction."""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from renova.api.compute import (
    device_wishes,
    group_wishes,
    host_names,
    image_properties,
    network_wishes,
    personality,
    scheduler_hints,
)
from renova.api.compute.availability_zones import demand_zone
from renova.api.compute.bootable import demand_bootable, demand_config_drive_wish, demand_no_certs, find_image
from renova.api.compute.device_wishes import FormerDevice, WantedDevice, Wishes
from renova.api.compute.fields import (
    Body,
    Count,
    Description,
    DiskConfig,
    HostName,
    Metadata,
    Name,
    Tag,
    TrustedCerts,
    Truth,
    UserData,
    base64,
    count,
    given,
    is_true,
    optional_address,
    read,
    trusted_certs,
)
from renova.api.compute.flavors import reach
from renova.api.compute.group_wishes import GroupWishes
from renova.api.compute.network_wishes import Wanted
from renova.api.compute.passwords import new_password
from renova.api.compute.personality import WantedFile
from renova.api.compute.quota import demand_members_within, demand_metadata, servers_within
from renova.api.compute.server_view import ServerViews
from renova.api.compute.visible import asked
from renova.api.http import Call, Reply, Version
from renova.model.block_device import BlockDevice
from renova.model.errors import Invalid
from renova.model.flavor import Flavor
from renova.model.ids import ServerId, VolumeId
from renova.model.image import Image
from renova.model.server import KeyPair, Server
from renova.operations.create import NewServer, accept_create
from renova.store import flavors, hosts, keypairs, quotas
from renova.store.database import Tx

POLICY = {
    "os_compute_api:servers:create": "rule:project_member_or_admin",
    "os_compute_api:servers:create:forced_host": "rule:admin_api",
    "os_compute_api:servers:create:attach_network": "rule:project_member_or_admin",
    "os_compute_api:servers:create:attach_volume": "rule:project_member_or_admin",
    "os_compute_api:servers:create:trusted_certs": "rule:project_member_or_admin",
    "os_compute_api:compute:servers:create:requested_destination": "rule:admin_api",
}


class GroupName(Body):
    """A security group asked for."""

    name: Name


class WantedServer(Body):
    """What is asked for of the server."""

    SINCE: ClassVar[dict[str, Version]] = {
        "description": (2, 19),
        "tags": (2, 52),
        "trusted_image_certificates": (2, 63),
        "host": (2, 74),
        "hypervisor_hostname": (2, 74),
        "hostname": (2, 90),
    }
    UNTIL: ClassVar[dict[str, Version]] = {"personality": (2, 56)}

    name: Name
    flavor: Annotated[str, Meta(min_length=1)] | int = msgspec.field(name="flavorRef")
    image: str | UnsetType = msgspec.field(default=UNSET, name="imageRef")
    admin_pass: str | UnsetType = msgspec.field(default=UNSET, name="adminPass")
    metadata: Metadata | UnsetType = UNSET
    networks: Wanted | UnsetType = UNSET
    disk_config: DiskConfig | UnsetType = msgspec.field(default=UNSET, name="OS-DCF:diskConfig")
    access_ipv4: str | UnsetType = msgspec.field(default=UNSET, name="accessIPv4")
    access_ipv6: str | UnsetType = msgspec.field(default=UNSET, name="accessIPv6")
    personality: list[WantedFile] | UnsetType = UNSET
    availability_zone: Name | UnsetType = UNSET
    former_devices: list[FormerDevice] | UnsetType = msgspec.field(default=UNSET, name="block_device_mapping")
    devices: list[WantedDevice] | UnsetType = msgspec.field(default=UNSET, name="block_device_mapping_v2")
    config_drive: Truth | UnsetType | None = UNSET
    key_name: Name | UnsetType = UNSET
    min_count: Count = 1
    max_count: Count | UnsetType = UNSET
    return_reservation_id: Truth = False
    security_groups: list[GroupName] | UnsetType = UNSET
    user_data: UserData | UnsetType | None = UNSET
    description: Description | UnsetType | None = UNSET
    tags: Annotated[list[Tag], Meta(max_length=50)] | UnsetType = UNSET
    trusted_image_certificates: TrustedCerts | UnsetType | None = UNSET
    host: HostName | UnsetType = UNSET
    hypervisor_hostname: HostName | UnsetType = UNSET
    hostname: str | UnsetType = UNSET


class CreateServer(Body):
    """The body of POST /servers."""

    server: WantedServer
    hints: dict[str, Any] | UnsetType = msgspec.field(default=UNSET, name="os:scheduler_hints")
    old_hints: dict[str, Any] | UnsetType = msgspec.field(default=UNSET, name="OS-SCH-HNT:scheduler_hints")


class Found(msgspec.Struct, frozen=True):
    """What the request names, as it is now."""

    flavor: Flavor
    key: KeyPair | None
    groups: GroupWishes


async def create(call: Call) -> Reply:
    call.demand("os_compute_api:servers:create")
    body = read(call, CreateServer)
    wanted = body.server
    if wanted.trusted_image_certificates is not UNSET:
        call.demand("os_compute_api:servers:create:trusted_certs")
    least, most = _counts(wanted)
    zone, host = _place(call, wanted)
    # As in Nova: whatever mapping is given counts, and so does a network that the cloud is to choose.
    if wanted.former_devices or wanted.devices:
        call.demand("os_compute_api:servers:create:attach_volume")
    if given(wanted.networks, []) not in ([], "none"):
        call.demand("os_compute_api:servers:create:attach_network")
    hints = scheduler_hints.checked({**given(body.old_hints, {}), **given(body.hints, {})})
    found = await call.cloud.database.read(lambda tx: _find(call, tx, wanted, zone, host))
    disks = await device_wishes.wishes(call, wanted.image, wanted.former_devices, wanted.devices, found.flavor, most)
    image = await _image(call, wanted, found.flavor, disks)
    first = NewServer(
        id=ServerId(call.cloud.chance.uuid()),
        name=wanted.name,
        description=given(wanted.description, None) if call.version >= (2, 19) else wanted.name,  # as Nova has it
        hostname="",
        flavor=found.flavor,
        image=image,
        image_properties=disks.properties,
        devices=disks.devices,
        key=found.key,
        user_data=base64(wanted.user_data, "user_data") if wanted.user_data else None,
        metadata=given(wanted.metadata, {}),
        tags=tuple(dict.fromkeys(given(wanted.tags, []))),
        wishes=found.groups.of(await network_wishes.wishes(call, wanted.networks, most)),
        availability_zone=zone,
        host=host,
        config_drive="True" if wanted.config_drive and is_true(wanted.config_drive) else "",
        security_groups=found.groups.names,
        hints=hints,
        group=scheduler_hints.group(hints),
        access_ipv4=optional_address(given(wanted.access_ipv4, None), "accessIPv4", 4),
        access_ipv6=optional_address(given(wanted.access_ipv6, None), "accessIPv6", 6),
        admin_pass=given(wanted.admin_pass, "") or new_password(call.cloud.chance),
        disk_config=given(wanted.disk_config, None) or _auto_disk_config(image) or "MANUAL",
        trusted_certs=trusted_certs(given(wanted.trusted_image_certificates, None)) or None,
        files=personality.files(given(wanted.personality, [])),
        reservation=f"r-{call.cloud.chance.uuid()[:8]}",
    )
    everyone = [_numbered(call, wanted, first, place, most) for place in range(most)]
    servers = await call.cloud.database.transact(lambda tx: _accept(call, tx, everyone, least))
    if is_true(wanted.return_reservation_id):
        return Reply(202, {"reservation_id": first.reservation})
    shown = ServerViews(call, {}).created(servers[0], first.admin_pass or "")
    return Reply(202, {"server": shown}, {"location": shown["links"][0]["href"]})


def _accept(call: Call, tx: Tx, everyone: list[NewServer], least: int) -> list[Server]:
    limits = quotas.of_project(tx, call.caller.project)
    demand_metadata(limits, len(everyone[0].metadata))
    personality.demand_within(limits, everyone[0].files)
    scheduler_hints.demand_known(call, tx, everyone[0].hints)
    room = servers_within(tx, call.caller.project, everyone[0].flavor, least, len(everyone))
    if everyone[0].group is not None:
        demand_members_within(tx, call.caller.project, everyone[0].group, room)
    return [accept_create(call.cloud, tx, asked(call), new) for new in everyone[:room]]


def _counts(wanted: WantedServer) -> tuple[int, int]:
    """Return how many servers there are to be, at least and at most."""
    least = count(wanted.min_count, "min_count", most=1000)
    most = least if wanted.max_count is UNSET else count(wanted.max_count, "max_count", most=1000)
    if least > most:
        raise Invalid("min_count must be <= max_count")
    if most > 1 and isinstance(wanted.hostname, str):
        raise Invalid("A hostname can be given to one server only.")
    return least, most


def _place(call: Call, wanted: WantedServer) -> tuple[str | None, str | None]:
    """Return the zone and the host asked for; an administrator may write both as zone:host."""
    zone: str | None = given(wanted.availability_zone, None)
    host: str | None = None
    if zone is not None and ":" in zone:
        zone, host, *node = zone.split(":")
        if len(node) > 1:
            raise Invalid(f"Unable to parse availability_zone {wanted.availability_zone}: zone:host:node is expected.")
        if node and host and node[0] not in ("", host):
            raise Invalid(f"Compute host {host} has no node {node[0]}.")
        host = host or (node[0] if node else None)  # a host's one node has its name
        call.demand("os_compute_api:servers:create:forced_host")
    asked_host = given(wanted.host, None) or given(wanted.hypervisor_hostname, None)
    if asked_host is not None:
        call.demand("os_compute_api:compute:servers:create:requested_destination")
        if host:
            raise Invalid("Forced host and the host asked for cannot be specified together.")
        if given(wanted.hypervisor_hostname, asked_host) != asked_host:
            raise Invalid(f"Compute host {asked_host} has no node {wanted.hypervisor_hostname}.")
        host = asked_host
    return zone or None, host or None


def _find(call: Call, tx: Tx, wanted: WantedServer, zone: str | None, host: str | None) -> Found:
    flavor_id = str(wanted.flavor).rstrip("/").rpartition("/")[2]  # a link to it will do
    flavor = flavors.get(tx, flavor_id, reach(call))
    if flavor is None:
        raise Invalid(f"Flavor {flavor_id} could not be found.")
    key = None
    if isinstance(wanted.key_name, str):
        key = find_key(call, tx, wanted.key_name)
    if host is not None and hosts.compute_host_named(tx, host) is None:
        raise Invalid(f"Compute host {host} could not be found.")
    if zone is not None:
        demand_zone(tx, zone)
    named = (group.name for group in given(wanted.security_groups, []))
    return Found(flavor, key, group_wishes.wished(tx, call.caller.project, named))


def find_key(call: Call, tx: Tx, name: str) -> KeyPair:
    """Return the caller's key of this name. `Invalid` when there is none."""
    stored = keypairs.get(tx, call.caller.user, name)
    if stored is None:
        raise Invalid("Invalid key_name provided.")
    return KeyPair(stored.name, stored.public_key, stored.type)


async def _image(call: Call, wanted: WantedServer, flavor: Flavor, disks: Wishes) -> Image | None:
    """Return the image that the root disk is made of; None for a server that boots from a volume."""
    if disks.image is None:
        demand_no_certs(given(wanted.trusted_image_certificates, None))
        demand_config_drive_wish(disks.properties)
        image_properties.demand_consistent(flavor, disks.properties)
        return None
    image = await find_image(call, disks.image, f"Can not find requested image {disks.image}")
    image_properties.demand_auto_disk_config(image, given(wanted.disk_config, None))
    image_properties.demand_known_architecture(image)
    demand_bootable(call, image, flavor, call.caller.project)
    return image


def _auto_disk_config(image: Image | None) -> str | None:
    return image_properties.auto_disk_config(image) if image is not None else None


def _numbered(call: Call, wanted: WantedServer, first: NewServer, place: int, most: int) -> NewServer:
    """Return one of the servers asked for: of several, each gets its number in the name."""
    server = first.id if place == 0 else ServerId(call.cloud.chance.uuid())
    name = first.name if most == 1 else f"{first.name}-{place + 1}"
    if isinstance(wanted.hostname, str):
        hostname = host_names.checked(wanted.hostname, call.version)
    else:
        hostname = host_names.made_from(name, f"server-{server}")
    devices = tuple(_own(call, device) for device in first.devices) if place else first.devices
    return msgspec.structs.replace(first, id=server, name=name, hostname=hostname, devices=devices)


def _own(call: Call, device: BlockDevice) -> BlockDevice:
    """Return the same device for another server: a volume that is to be made is one of its own."""
    new, volume = call.cloud.chance.uuid(), VolumeId(call.cloud.chance.uuid()) if device.made else device.volume
    return msgspec.structs.replace(device, id=new, volume=volume)
