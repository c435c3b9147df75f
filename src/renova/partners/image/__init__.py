"""Where images come from."""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from renova.model.ids import ImageId
from renova.model.image import Image
from renova.partners.identity import Caller


class Images(Protocol):
    """Describes images and gives their bytes."""

    async def image(self, image: ImageId, caller: Caller | None) -> Image | None:
        """Return the image if the caller may see it (None as caller: the cloud itself, which sees all)."""
        ...

    async def add(self, image: Image) -> None:
        """Have the image, without bytes yet: `queued`. One that is there already under this id is left as it is."""
        ...

    async def write(self, image: ImageId, pieces: AsyncIterator[bytes]) -> None:
        """Give a queued image its bytes; it is active once all are stored. Cancelled or failed, it is queued again.

        `NotFound` when it was deleted meanwhile, `Conflict` when it has bytes, `Invalid` when they are not of its
        format, `NotNow` when they cannot be stored.
        """
        ...

    async def having(self, properties: Mapping[str, str]) -> list[Image]:
        """List the images that have all of these properties, the newest first."""
        ...

    async def remove(self, image: ImageId) -> None:
        """Have the image gone, with its bytes. Absent is fine."""
        ...

    def read(self, image: ImageId, offset: int = 0) -> AsyncIterator[bytes]:
        """Give an active image's bytes from `offset` on, in pieces of at most 1 MiB. `NotFound`, `NotNow`."""
        ...

    async def recover(self) -> None:
        """Have images queued again whose bytes nobody writes any more: their controller died, or failed to say so."""
        ...

    async def sweep(self) -> int:
        """Remove bytes that are no image's; returns how many were."""
        ...
