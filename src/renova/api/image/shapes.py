"""What an image looks like to clients: fixed attributes and the owner's own properties, side by side."""

from typing import Any

import msgspec

from renova.model.errors import Forbidden, Invalid
from renova.model.ids import ProjectId
from renova.model.image import Image
from renova.partners.image.formats import FORMATS

VISIBILITIES = ("public", "private", "shared", "community")

READ_ONLY = frozenset(
    {
        "checksum",
        "created_at",
        "direct_url",
        "file",
        "locations",
        "os_hash_algo",
        "os_hash_value",
        "schema",
        "self",
        "size",
        "status",
        "stores",
        "updated_at",
        "virtual_size",
    }
)
_MOST_TAGS = 128
_MOST_PROPERTIES = 128
_LONGEST_VALUE = 65_535  # of a property, as in Glance


class Described(msgspec.Struct):
    """What a client may say about an image."""

    name: str | None = None
    visibility: str = "shared"
    disk_format: str | None = None
    container_format: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    protected: bool = False
    os_hidden: bool = False
    tags: list[str] = []
    owner: str | None = None


def described(given: dict[str, Any], owner: ProjectId | None) -> tuple[Described, dict[str, str]]:
    """Return the attributes and the properties among what a client gave. `Invalid`, `Forbidden`."""
    for name in given:
        if name in READ_ONLY:
            raise Forbidden(f"Attribute '{name}' is read-only.")
    known = {name: value for name, value in given.items() if name in Described.__struct_fields__}
    try:
        found = msgspec.convert({"owner": owner, **known}, Described)
        properties = msgspec.convert(
            {name: value for name, value in given.items() if name not in known and name != "id"}, dict[str, str]
        )
    except msgspec.ValidationError as error:
        raise Invalid(f"Provided object does not match schema 'image': {error}") from error
    _demand_sound(found, properties)
    return found, properties


def _demand_sound(found: Described, properties: dict[str, str]) -> None:
    wrong = None
    if found.visibility not in VISIBILITIES:
        wrong = f"visibility '{found.visibility}' is not one of {', '.join(VISIBILITIES)}"
    elif found.disk_format is not None and found.disk_format not in FORMATS:
        wrong = f"disk_format '{found.disk_format}' is not one of {', '.join(FORMATS)}"
    elif found.container_format not in (None, "bare"):
        wrong = f"container_format '{found.container_format}' is not one of bare"
    elif not 0 <= found.min_disk < 2**31 or not 0 <= found.min_ram < 2**31:
        wrong = "min_disk and min_ram are not negative"
    elif any(len(text) > 255 for text in (found.name or "", *found.tags, *properties)):
        wrong = "names and tags have at most 255 characters"
    elif any(len(text) > _LONGEST_VALUE for text in properties.values()):
        wrong = f"values of properties have at most {_LONGEST_VALUE} characters"
    if wrong:
        raise Invalid(f"Provided object does not match schema 'image': {wrong}.")
    if len(set(found.tags)) > _MOST_TAGS or len(properties) > _MOST_PROPERTIES:
        raise Invalid(f"An image has at most {_MOST_TAGS} tags and {_MOST_PROPERTIES} properties.")


def attributes(image: Image) -> dict[str, Any]:
    """Return what a client may change of the image, as it is now."""
    return {
        "name": image.name or None,
        "visibility": image.visibility,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "protected": image.protected,
        "os_hidden": image.hidden,
        "tags": list(image.tags),
        "owner": image.owner,
        **image.properties,
    }


def image_shape(image: Image) -> dict[str, Any]:
    return {
        **attributes(image),
        "id": image.id,
        "status": image.status,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "checksum": image.md5,
        "os_hash_algo": "sha512" if image.sha512 else None,
        "os_hash_value": image.sha512,
        "created_at": f"{image.created_at[:19]}Z",
        "updated_at": f"{image.updated_at[:19]}Z",
        "self": f"/v2/images/{image.id}",
        "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
    }


def columns(found: Described, properties: dict[str, str]) -> dict[str, Any]:
    """Return what is stored of what a client said."""
    return {
        "name": found.name or "",
        "visibility": found.visibility,
        "disk_format": found.disk_format,
        "container_format": found.container_format,
        "min_disk": found.min_disk,
        "min_ram": found.min_ram,
        "protected": found.protected,
        "hidden": found.os_hidden,
        "tags": tuple(dict.fromkeys(found.tags)),
        "owner": found.owner,
        "properties": properties,
    }
