"""What clients read about the attributes of images, as JSON schemas."""

from typing import Any

from renova.api.http import Call, Reply
from renova.api.image.shapes import READ_ONLY, VISIBILITIES
from renova.partners.image.formats import FORMATS

_TEXT: dict[str, Any] = {"type": ["null", "string"], "maxLength": 255}
_NUMBER: dict[str, Any] = {"type": ["null", "integer"]}

_PROPERTIES: dict[str, dict[str, Any]] = {
    "id": {"type": "string", "description": "An identifier for the image"},
    "name": {**_TEXT, "description": "Descriptive name for the image"},
    "status": {"type": "string", "enum": ["queued", "saving", "active"], "description": "Status of the image"},
    "visibility": {"type": "string", "enum": list(VISIBILITIES), "description": "Scope of image accessibility"},
    "protected": {"type": "boolean", "description": "If true, image will not be deletable."},
    "os_hidden": {"type": "boolean", "description": "If true, image will not appear in default image list response."},
    "checksum": {**_TEXT, "description": "md5 hash of image contents."},
    "os_hash_algo": {**_TEXT, "description": "Algorithm to calculate the os_hash_value"},
    "os_hash_value": {**_TEXT, "description": "Hexdigest of the image contents using os_hash_algo"},
    "owner": {**_TEXT, "description": "Owner of the image"},
    "size": {**_NUMBER, "description": "Size of image file in bytes"},
    "virtual_size": {**_NUMBER, "description": "Virtual size of image in bytes"},
    "disk_format": {
        "type": ["null", "string"],
        "enum": [None, *FORMATS],
        "description": "Format of the disk",
    },
    "container_format": {
        "type": ["null", "string"],
        "enum": [None, "bare"],
        "description": "Format of the container",
    },
    "min_disk": {"type": "integer", "description": "Amount of disk space (in GB) required to boot image."},
    "min_ram": {"type": "integer", "description": "Amount of ram (in MB) required to boot image."},
    "tags": {"type": "array", "items": {"type": "string", "maxLength": 255}, "description": "List of strings"},
    "created_at": {"type": "string", "description": "Date and time of image registration"},
    "updated_at": {"type": "string", "description": "Date and time of the last image modification"},
    "self": {"type": "string", "description": "URL of this image"},
    "file": {"type": "string", "description": "URL of this image's data"},
    "schema": {"type": "string", "description": "URL of this schema"},
}

_IMAGE: dict[str, Any] = {
    "name": "image",
    "properties": {
        name: {**schema, "readOnly": True} if name in READ_ONLY else schema for name, schema in _PROPERTIES.items()
    },
    "additionalProperties": {"type": "string"},
    "links": [{"rel": "self", "href": "{self}"}, {"rel": "enclosure", "href": "{file}"}],
}

_IMAGES: dict[str, Any] = {
    "name": "images",
    "properties": {
        "images": {"type": "array", "items": _IMAGE},
        "first": {"type": "string"},
        "next": {"type": "string"},
        "schema": {"type": "string"},
    },
    "links": [
        {"rel": "first", "href": "{first}"},
        {"rel": "next", "href": "{next}"},
        {"rel": "describedby", "href": "{schema}"},
    ],
}


async def image(call: Call) -> Reply:
    return Reply(200, _IMAGE)


async def images(call: Call) -> Reply:
    return Reply(200, _IMAGES)
