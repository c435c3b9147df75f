"""The built-in image service: descriptions in the database, bytes in files below the controller's state directory.

Called by `hosts` (bytes for agents), by operations (descriptions) and by `api.image`, which changes descriptions.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.model.errors import Conflict, Invalid, NotFound
from renova.model.ids import ImageId
from renova.model.image import Image
from renova.partners.identity import Caller
from renova.partners.image.files import ImageFiles
from renova.settings import ControllerSettings
from renova.store import images as store
from renova.store.database import Database, Tx


class BuiltinImages:
    """Images, kept by the controller."""

    def __init__(
        self,
        database: Database,
        clock: Clock,  # noqa: ARG002  (all parts are made alike)
        chance: Chance,  # noqa: ARG002
        settings: ControllerSettings,
    ) -> None:
        self._database = database
        self._files = ImageFiles(Path(settings.state_dir) / "images")

    async def recover(self) -> None:
        """Undo uploads that the last run of the controller did not finish. Once, before any request."""

        def forget(tx: Tx) -> list[Image]:
            for unfinished in store.with_status(tx, "saving"):
                store.change(tx, unfinished.id, status="queued")
            return store.with_status(tx, "active")

        active = await self._database.transact(forget)
        await self._files.keep_only(image.id for image in active)

    async def image(self, image: ImageId, caller: Caller | None) -> Image | None:
        found = await self._database.read(lambda tx: store.image(tx, image))
        if found is None or caller is None or "admin" in caller.roles or found.owner == caller.project:
            return found
        return found if found.visibility in ("public", "community") else None

    async def add(self, image: Image) -> None:
        """Have the image, queued, unless there is one of this id."""

        def work(tx: Tx) -> None:
            if store.image(tx, image.id) is None:
                store.add(tx, replace(image, status="queued", created_at=tx.now, updated_at=tx.now))

        await self._database.transact(work)

    async def read(self, image: ImageId, offset: int = 0) -> AsyncIterator[bytes]:
        found = await self._database.read(lambda tx: store.image(tx, image))
        if found is None or found.status != "active":
            raise NotFound(f"No active image found with ID {image}")
        async for piece in self._files.read(image, offset):
            yield piece

    async def write(self, image: ImageId, pieces: AsyncIterator[bytes]) -> None:
        """Give a queued image its bytes, which makes it active. Bytes refused leave it queued, without any.

        `Conflict` when it has bytes or is getting them; else as `ImageFiles.write`.
        """

        def begin(tx: Tx) -> str:
            found = store.image(tx, image)
            if found is None:
                raise NotFound(f"No image found with ID {image}")
            if found.disk_format is None or found.container_format is None:
                raise Invalid("Properties disk_format, container_format must be set prior to saving data.")
            if not store.change(tx, image, if_status="queued", status="saving"):
                raise Conflict(f"Image status transition from {found.status} to saving is not allowed")
            return found.disk_format

        disk_format = await self._database.transact(begin)
        try:
            stored = await self._files.write(image, disk_format, pieces)
        except BaseException:
            await self._database.transact(lambda tx: _requeue(tx, image))
            raise

        def end(tx: Tx) -> bool:
            if store.image(tx, image) is None:
                return False
            return store.change(
                tx,
                image,
                if_status="saving",
                status="active",
                size=stored.size,
                virtual_size=stored.virtual_size,
                md5=stored.md5,
                sha256=stored.sha256,
                sha512=stored.sha512,
            )

        if not await self._database.transact(end):
            # Deleted while its bytes came in.
            await self._files.remove(image)
            raise NotFound(f"No image found with ID {image}")

    async def having(self, properties: Mapping[str, str]) -> list[Image]:
        every = await self._database.read(store.every)
        return [image for image in every if properties.items() <= image.properties.items()]

    async def remove(self, image: ImageId) -> None:
        """Remove an image. The description goes first: a file without one is swept away at the next start."""
        await self._database.transact(lambda tx: store.remove(tx, image))
        await self._files.remove(image)


def _requeue(tx: Tx, image: ImageId) -> None:
    if store.image(tx, image) is not None:
        store.change(tx, image, if_status="saving", status="queued")
