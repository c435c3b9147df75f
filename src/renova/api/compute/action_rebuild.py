"""rebuild: the owner has the server made anew from an image, on the host where it is."""

from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from renova.api.compute import host_names
from renova.api.compute.action import Action, Value, read_value
from renova.api.compute.bootable import demand_bootable, find_image
from renova.api.compute.fields import (
    Body,
    Description,
    DiskConfig,
    Metadata,
    Name,
    Truth,
    UserData,
    Uuid,
    base64,
    given,
    is_true,
    optional_address,
)
from renova.api.compute.passwords import new_password
from renova.api.compute.quota import demand_metadata_within
from renova.api.compute.server_create import find_key
from renova.api.compute.visible import asked, find_server, views
from renova.api.http import Call, Reply, Version
from renova.model.errors import Invalid
from renova.model.server import KeyPair, Server
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.store.database import Tx

POLICY = {
    "os_compute_api:servers:rebuild": "rule:project_member_or_admin",
    "os_compute_api:servers:rebuild:trusted_certs": "rule:project_member_or_admin",
}


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
    personality: list[Any] | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    key_name: Name | UnsetType | None = UNSET
    user_data: UserData | UnsetType | None = UNSET
    trusted_image_certificates: list[str] | UnsetType | None = UNSET
    hostname: str | UnsetType = UNSET


async def rebuild(call: Call, value: Value) -> Reply:
    wanted = read_value(call, "rebuild", value, WantedRebuild)
    server = await find_server(call, "os_compute_api:servers:rebuild")
    _demand_supported(wanted)
    key = await call.cloud.database.read(lambda tx: _key(call, tx, wanted))
    image = await find_image(call, wanted.image, "Cannot find image for rebuild")
    admin_pass = given(wanted.admin_pass, "") or new_password(call.cloud.chance)
    asked_for = Rebuild(
        image=image,
        name=given(wanted.name, None),
        admin_pass=admin_pass,
        metadata=given(wanted.metadata, None),
        description=wanted.description,
        key=key,
        user_data=base64(wanted.user_data, "user_data") if isinstance(wanted.user_data, str) else wanted.user_data,
        hostname=host_names.checked(wanted.hostname, call.version) if isinstance(wanted.hostname, str) else None,
        access_ipv4=_address(wanted.access_ipv4, "accessIPv4", 4),
        access_ipv6=_address(wanted.access_ipv6, "accessIPv6", 6),
        disk_config=given(wanted.disk_config, None),
    )
    demand_bootable(call, image, server.flavor, server.project)

    def accept(tx: Tx) -> Server:
        demand_metadata_within(tx, call.caller.project, len(given(wanted.metadata, {})))
        return accept_rebuild(call.cloud, tx, asked(call), server.id, asked_for)

    rebuilt = await call.cloud.database.transact(accept)
    shown = (await views(call, [rebuilt])).rebuilt(rebuilt, admin_pass)
    return Reply(202, {"server": shown}, {"location": shown["links"][0]["href"]})


def _demand_supported(wanted: WantedRebuild) -> None:
    """Raise `Invalid` for what this cloud does not do, before the server is touched."""
    if is_true(wanted.preserve_ephemeral):
        raise Invalid("The current driver does not support preserving ephemeral partitions.")
    if wanted.personality:
        raise Invalid("Personality files are not supported; use user_data.")
    if wanted.trusted_image_certificates:
        raise Invalid("Image signature certificate validation is not supported.")


def _key(call: Call, tx: Tx, wanted: WantedRebuild) -> KeyPair | UnsetType | None:
    """Return the caller's key (not the server's owner's), None to take the key away, or UNSET to keep it."""
    return find_key(call, tx, wanted.key_name) if isinstance(wanted.key_name, str) else wanted.key_name


def _address(text: str | UnsetType, name: str, version: int) -> str | UnsetType | None:
    return UNSET if text is UNSET else optional_address(text, name, version)


ACTIONS = {"rebuild": Action(rebuild)}
