"""An image: what a root disk starts from."""

import msgspec

from renova.model.ids import ImageId, ProjectId

# What every image has; its owner's own properties stand beside these, under other names.
ATTRIBUTES = frozenset(
    {"id", "name", "status", "visibility", "protected", "os_hidden", "checksum", "os_hash_algo", "os_hash_value"}
    | {"owner", "size", "virtual_size", "disk_format", "container_format", "min_disk", "min_ram", "tags"}
    | {"created_at", "updated_at", "self", "file", "schema", "direct_url", "locations", "stores"}
)


class Image(msgspec.Struct, frozen=True):
    """An image as the image service describes it (Glance v2 names)."""

    id: ImageId
    name: str
    status: str  # queued, saving, active, deleted, ...
    owner: ProjectId | None
    visibility: str  # public, private, shared, community
    disk_format: str | None
    container_format: str | None
    size: int | None  # bytes of the file
    virtual_size: int | None  # bytes a guest sees
    sha256: str | None
    md5: str | None
    min_disk: int  # GB
    min_ram: int  # MB
    protected: bool
    tags: tuple[str, ...]
    properties: dict[str, str]
    created_at: str
    updated_at: str
    sha512: str | None = None
    hidden: bool = False  # left out of lists unless asked for
