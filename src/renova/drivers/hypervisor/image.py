"""An image's bytes on their way to a host: given on only as far as they can still be what the image claims."""

import hashlib
from collections.abc import AsyncIterator
from typing import Protocol

from renova.drivers.hypervisor import ImageSource
from renova.model.errors import Refused
from renova.model.ids import ImageId


class Promised(Protocol):
    """What an image claims to be: a root disk's, or a volume's."""

    @property
    def image(self) -> ImageId: ...
    @property
    def image_bytes(self) -> int: ...
    @property
    def image_sha256(self) -> str: ...


async def verified(root: Promised, images: ImageSource) -> AsyncIterator[bytes]:
    """Yield the image's bytes; `Refused` as soon as, or when at the end, size or checksum is not as promised.

    Nobody may use what was yielded before this iterator ended by itself.
    """
    digest, size = hashlib.sha256(), 0
    async for chunk in images.read(root.image):
        size += len(chunk)
        if size > root.image_bytes:
            # At once: an endless image must not fill the disk.
            raise Refused(f"image {root.image} is longer than its {root.image_bytes} bytes")
        digest.update(chunk)
        yield chunk
    if size != root.image_bytes:
        raise Refused(f"image {root.image} has {size} bytes, not {root.image_bytes}")
    if digest.hexdigest() != root.image_sha256:
        raise Refused(f"image {root.image} does not match its checksum sha256 {root.image_sha256}")
