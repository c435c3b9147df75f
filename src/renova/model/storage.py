"""What a storage host is told about the volumes it holds, in full, and what it says of itself.

The controller derives it anew from the database each time (`store.volumes`); it travels in commands (`wire`), and the
storage driver (`drivers.volume`) obeys it.
"""

from typing import TypeAlias

import msgspec

from renova.model.ids import HostId, ImageId, SnapshotId, VolumeId


class Blank(msgspec.Struct, frozen=True, tag="blank"):
    """Nothing but zeroes."""


class OfImage(msgspec.Struct, frozen=True, tag="image"):
    """An image's content; whoever reads it checks it against size and checksum."""

    image: ImageId
    image_format: str  # "qcow2" or "raw"
    image_bytes: int
    image_sha256: str


class OfSnapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """A copy of a snapshot that the same host holds."""

    snapshot: SnapshotId


class OfVolume(msgspec.Struct, frozen=True, tag="volume"):
    """A copy of another volume of the same host, as it is at one moment."""

    volume: VolumeId


Source: TypeAlias = Blank | OfImage | OfSnapshot | OfVolume


class Export(msgspec.Struct, frozen=True, order=True):
    """A name under which a volume is served to one host, on a port that no other host is served on.

    The name is a secret: whoever is let in by that port and knows it reaches the volume.
    """

    name: str
    host: HostId  # the compute host; where TLS is used, only its certificate is let in
    port: int
    writable: bool = True


class WantedVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as it should be: how large, with what content, and served under exactly these names, to one host.

    `generation` numbers the content: a higher one replaces it by what `source` says now. `source` counts for nothing
    once the content of this generation is there. Where it was `made`, it is refused to make it again: it was lost.
    """

    volume: VolumeId
    size_bytes: int
    generation: int
    source: Source
    made: bool = False
    exports: tuple[Export, ...] = ()


class StorageFacts(msgspec.Struct, frozen=True):
    """What a storage host offers."""

    total_gb: int
    free_gb: int
    port: int  # the first on which it may serve; each compute host with volumes here has one of its own
    ports: int  # how many these are
    tls: bool  # whether clients must have a certificate of the cloud
