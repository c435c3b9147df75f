"""A server's block device (Nova: block device mapping): a volume that it has or is to have, or a blank local disk."""

import msgspec

from renova.model.ids import AttachmentId, HostId, ImageId, ServerId, VolumeId
from renova.model.volume import Connection


class BlockDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One device of a server beside the root disk from an image, which every server without `boot_index` 0 here has.

    A volume's row has exactly one attachment once it is reserved. While that is being replaced, `next_attachment`
    names the new one: whoever finds it goes on from there (`operations.parts.volumes`).
    """

    id: str
    server: ServerId
    source: str  # volume, snapshot, image, blank: what it starts from
    destination: str  # volume, local
    volume: VolumeId | None = None  # set from the beginning, also for one that has yet to be made
    made: bool = False  # the volume is made for this server
    image: ImageId | None = None
    snapshot: str | None = None
    size_gb: int | None = None  # of a swap: MiB
    volume_type: str | None = None
    guest_format: str | None = None
    boot_index: int | None = None
    delete_on_termination: bool = False
    tag: str | None = None
    device: str = ""  # "vdb"
    attachment: AttachmentId | None = None
    next_attachment: AttachmentId | None = None
    connection: Connection | None = None  # how the host reaches it: holds a secret, never shown nor logged
    host: HostId | None = None  # for which it is connected
    attached: bool = True  # False while a volume is being attached to a server that is there already
    created_at: str = ""
    updated_at: str = ""

    @property
    def boots(self) -> bool:
        return self.boot_index == 0

    @property
    def is_volume(self) -> bool:
        return self.destination == "volume"

    @property
    def is_swap(self) -> bool:
        return self.destination == "local" and self.guest_format == "swap"
