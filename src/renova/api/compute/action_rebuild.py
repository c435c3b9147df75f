"""rebuild: the owner has the server made anew from an image, on the host where it is."""

from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from renova.api.compute import host_names, image_properties, personality, quota
from renova.api.compute.action import Action, Value, read_value
from renova.api.compute.bootable import demand_bootable, demand_no_certs, find_image
from renova.api.compute.fields import (
    Body,
    Description,
    DiskConfig,
    Metadata,
    Name,
    TrustedCerts,
    Truth,
    UserData,
    Uuid,
    base64,
    given,
    is_true,
    optional_address,
    trusted_certs,
)
from renova.api.compute.passwords import new_password
from renova.api.compute.personality import WantedFile
from renova.api.compute.server_create import find_key
from renova.api.compute.visible import asked, find_server, views
from renova.api.http import Call, Reply, Version
from renova.model.errors import Conflict, Invalid
from renova.model.ids import ServerId, VolumeId
from renova.model.image import Image
from renova.model.server import KeyPair, Server
from renova.model.volume import Volume
from renova.operations.parts import volumes
from renova.operations.parts.permits import permitted
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.store import hosts, quotas
from renova.store.database import Tx

POLICY = {
    "os_compute_api:servers:rebuild": "rule:project_member_or_admin",
    "os_compute_api:servers:rebuild:trusted_certs": "rule:project_member_or_admin",
}


_REIMAGED_SINCE: Version = (2, 93)  # before, a server that boots from a volume kept what is on it


class WantedRebuild(Body):
    """What the server is to be; what is not given stays."""

    SINCE: ClassVar[dict[str, Version]] = {
        "description": (2, 19),
        "key_name": (2, 54),
        "user_data": (2, 57),
        "trusted_image_certificates": (2, 63),
        "hostname": (2, 90),
    }
    UNTIL: ClassVar[dict[str, Version]] = {"personality": (2, 56)}

    image: Uuid = msgspec.field(name="imageRef")
    name: Name | UnsetType = UNSET
    admin_pass: str | UnsetType = msgspec.field(default=UNSET, name="adminPass")
    metadata: Metadata | UnsetType = UNSET
    preserve_ephemeral: Truth = False
    disk_config: DiskConfig | UnsetType = msgspec.field(default=UNSET, name="OS-DCF:diskConfig")
    access_ipv4: str | UnsetType = msgspec.field(default=UNSET, name="accessIPv4")
    access_ipv6: str | UnsetType = msgspec.field(default=UNSET, name="accessIPv6")
    personality: list[WantedFile] | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    key_name: Name | UnsetType | None = UNSET
    user_data: UserData | UnsetType | None = UNSET
    trusted_image_certificates: TrustedCerts | UnsetType | None = UNSET
    hostname: str | UnsetType = UNSET


class Found(msgspec.Struct, frozen=True):
    """What the request is about, as it is now."""

    server: Server
    key: KeyPair | UnsetType | None
    limits: dict[str, int]
    boots_from: VolumeId | None  # None: a root disk of its own, or a volume that is gone


async def rebuild(call: Call, value: Value) -> Reply:
    wanted = read_value(call, "rebuild", value, WantedRebuild)
    asked_for = _asked_for(call, wanted)
    server = await find_server(call, "os_compute_api:servers:rebuild")
    if wanted.trusted_image_certificates is not UNSET:
        target = {"project_id": server.project, "user_id": server.user}
        call.demand("os_compute_api:servers:rebuild:trusted_certs", target)
    found = await call.cloud.database.read(lambda tx: _find(call, tx, server.id, wanted))
    image = await find_image(call, wanted.image, "Cannot find image for rebuild")
    boot = await _boot_volume(call, found)
    _demand_fit(call, found, image, asked_for, boot)
    await _demand_attached(call, found.server)
    disk_config = asked_for["disk_config"] or image_properties.auto_disk_config(image)
    order = Rebuild(
        image=image,
        key=found.key,
        reimage=boot is not None and call.version >= _REIMAGED_SINCE,
        **{**asked_for, "disk_config": disk_config},
    )
    rebuilt = await call.cloud.database.transact(
        lambda tx: accept_rebuild(call.cloud, tx, asked(call), server.id, order)
    )
    shown = (await views(call, [rebuilt])).rebuilt(rebuilt, order.admin_pass)
    return Reply(202, {"server": shown}, {"location": shown["links"][0]["href"]})


def _asked_for(call: Call, wanted: WantedRebuild) -> dict[str, Any]:
    """Return what of the rebuild the request says by itself. `Invalid` names the field that is wrong."""
    return {
        "name": given(wanted.name, None),
        "admin_pass": given(wanted.admin_pass, "") or new_password(call.cloud.chance),
        "metadata": given(wanted.metadata, None),
        "description": wanted.description,
        "user_data": base64(wanted.user_data, "user_data") if isinstance(wanted.user_data, str) else wanted.user_data,
        "hostname": host_names.checked(wanted.hostname, call.version) if isinstance(wanted.hostname, str) else None,
        "access_ipv4": _address(wanted.access_ipv4, "accessIPv4", 4),
        "access_ipv6": _address(wanted.access_ipv6, "accessIPv6", 6),
        "trusted_certs": trusted_certs(wanted.trusted_image_certificates),
        "disk_config": given(wanted.disk_config, None),
        "files": personality.files(given(wanted.personality, [])),
    }


def _find(call: Call, tx: Tx, server_id: ServerId, wanted: WantedRebuild) -> Found:
    server = permitted(tx, server_id, "rebuild", asked(call))
    host = hosts.get(tx, server.host) if server.host else None
    able = host is not None and host.facts is not None and host.facts.capabilities.preserve_ephemeral
    if is_true(wanted.preserve_ephemeral) and not able:
        raise Invalid("The current driver does not support preserving ephemeral partitions: leave preserve_ephemeral.")
    # The caller's key (not the server's owner's), null to take the key away, or nothing to keep it.
    key = find_key(call, tx, wanted.key_name) if isinstance(wanted.key_name, str) else wanted.key_name
    boot = volumes.boot_volume(tx, server)
    return Found(server, key, quotas.of_project(tx, call.caller.project), boot.volume if boot else None)


def _demand_fit(call: Call, found: Found, image: Image, asked_for: dict[str, Any], boot: Volume | None) -> None:
    """Raise unless the server may be made anew from the image as asked for; in Nova's order (spec: rebuild, 2)."""
    server = found.server
    image_properties.demand_auto_disk_config(image, asked_for["disk_config"])
    image_properties.demand_known_architecture(image)
    former = server.image if boot is None else boot.image_properties.get("image_id")
    if boot is not None:
        demand_no_certs(asked_for["trusted_certs"])
        if former != image.id and call.version < _REIMAGED_SINCE:
            raise Invalid("Unable to rebuild with a different image for a volume-backed server.")
    quota.demand_metadata(found.limits, len(asked_for["metadata"] or {}))
    personality.demand_within(found.limits, asked_for["files"])
    demand_bootable(call, image, server.flavor, server.project, volume_gb=boot.size_gb if boot else None)
    if image.id != former:
        image_properties.demand_same_numa(server.flavor, server.image_properties, image.properties)


async def _boot_volume(call: Call, found: Found) -> Volume | None:
    """Return the volume that the server boots from; None for one that has a root disk of its own."""
    if found.server.image is not None:
        return None
    volume = await call.cloud.volumes.volume(found.boots_from, None) if found.boots_from else None
    if volume is None:
        # It went while it was looked for: with the server, mostly.
        raise Conflict(f"Server {found.server.id} boots from a volume that is gone: delete the server.")
    return volume


async def _demand_attached(call: Call, server: Server) -> None:
    """Raise `Invalid` unless every volume of the server is in use by it, as far as the volume service knows."""
    for each in server.volumes:
        volume = await call.cloud.volumes.volume(each.volume, None)
        if volume is None or volume.status != "in-use":
            status = volume.status if volume is not None else "gone"
            raise Invalid(f"Invalid volume: volume {each.volume} must be in-use to rebuild its server; it is {status}.")


def _address(text: str | UnsetType, name: str, version: int) -> str | UnsetType | None:
    return UNSET if text is UNSET else optional_address(text, name, version)


ACTIONS = {"rebuild": Action(rebuild)}
