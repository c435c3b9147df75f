"""Where images come from."""

from collections.abc import AsyncIterator
from typing import Protocol

from renova.model.ids import ImageId
from renova.model.image import Image
from renova.partners.identity import Caller


class Images(Protocol):
    """Describes images and gives their bytes."""

    async def image(self, image: ImageId, caller: Caller | None) -> Image | None:
        """Return the image if the caller may see it (None as caller: the cloud itself, which sees all)."""
        ...

    def read(self, image: ImageId, offset: int = 0) -> AsyncIterator[bytes]:
        """Give an active image's bytes from `offset` on, in pieces of at most 1 MiB. `NotFound`, `NotNow`."""
        ...
