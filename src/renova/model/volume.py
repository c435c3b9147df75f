"""Volumes, and how a guest reaches one."""

from typing import TypeAlias

import msgspec

from renova.model.ids import AttachmentId, ProjectId, ServerId, VolumeId


class NbdExport(msgspec.Struct, frozen=True, tag="nbd"):
    """A volume served over NBD under a name of its own: one attachment, one name, never used again.

    NBD knows no locks, so who may write is decided by which names are served (safety: one export).
    """

    address: str  # of the storage host, on the underlay
    port: int
    name: str  # cannot be guessed; whoever knows it may read and write the volume: never logged
    tls: bool
    tls_name: str = ""  # what the storage host's certificate must be made out to, where `tls`; no address is


class VolumeFile(msgspec.Struct, frozen=True, tag="file"):
    """A volume on storage that all hosts share; QEMU's image lock guards it."""

    path: str
    format: str  # "raw" or "qcow2"


Connection: TypeAlias = NbdExport | VolumeFile


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume as servers need to know it; its statuses are Cinder's."""

    id: VolumeId
    name: str
    project: ProjectId
    size_gb: int
    status: str  # available, reserved, attaching, in-use, detaching, creating, error, ...
    zone: str
    bootable: bool = False
    encrypted: bool = False
    image_properties: dict[str, str] = {}  # volume_image_metadata: of the image it was made from, with its image_id


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """A server's claim on a volume; `connected` once a host can reach it, `complete` once a guest is to have it."""

    id: AttachmentId
    volume: VolumeId
    server: ServerId
    connected: bool
    complete: bool
    leaving: bool = False  # it is being cut off, and will not come back
    host: str = ""  # name of the host it was connected for
