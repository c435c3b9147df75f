"""The built-in image service: descriptions in the database, bytes in files below the directory shared by controllers.

Called by `hosts` (bytes for agents), by operations (descriptions) and by `api.image`, which changes descriptions.
Every write has a file of its own, whose name is never used again, and an executor that writes it: when that dies, or
fails, the image is queued once more, and whoever writes it next is not in the way of one that was only frozen.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from msgspec.structs import replace

from renova.engine.executor import Executor
from renova.model.chance import Chance
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

    def __init__(self, database: Database, chance: Chance, settings: ControllerSettings, me: Executor) -> None:
        self._database = database
        self._chance = chance
        self._me = me
        self._files = ImageFiles(Path(settings.shared) / "images")
        self._writing: set[str] = set()  # files

    async def recover(self) -> None:
        def left(tx: Tx) -> list[store.Writing]:
            return [each for each in store.unfinished(tx) if self._is_left(each)]

        def forget(tx: Tx) -> None:
            for each in left(tx):
                _requeue(tx, each.image, each.file)

        if await self._database.read(left):
            await self._database.transact(forget)

    def _is_left(self, writing: store.Writing) -> bool:
        """Say whether nobody writes it any more."""
        return writing.alive is None or (writing.executor == self._me.id and writing.file not in self._writing)

    async def sweep(self) -> int:
        """Remove files that are no image's: of images deleted or written anew while their controller died."""
        found = await self._files.names()

        def known(tx: Tx) -> set[str]:
            return store.known_files(tx) | {image.id for image in store.with_status(tx, "active")}

        # Read after the files were listed: what is there and not known now never will be, for no name is used again.
        gone = set(found) - await self._database.read(known)
        for file in gone:
            await self._files.drop(file)
        return len(gone)

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
        def where(tx: Tx) -> str | None:
            found = store.image(tx, image)
            return None if found is None or found.status != "active" else store.file_of(tx, image) or image

        file = await self._database.read(where)
        if file is None:
            raise NotFound(f"No active image found with ID {image}")
        async for piece in self._files.read(file, offset):
            yield piece

    async def write(self, image: ImageId, pieces: AsyncIterator[bytes]) -> None:
        """Give a queued image its bytes, which makes it active. Bytes refused leave it queued, without any.

        `Conflict` when it has bytes or is getting them; else as `ImageFiles.write`.
        """

        file, me = f"{image}.{self._chance.uuid()}", self._me.id

        def begin(tx: Tx) -> str:
            found = store.image(tx, image)
            if found is None:
                raise NotFound(f"No image found with ID {image}")
            if found.disk_format is None or found.container_format is None:
                raise Invalid("Properties disk_format, container_format must be set prior to saving data.")
            if any(each.image == image and self._is_left(each) for each in store.unfinished(tx)):
                store.change(tx, image, status="queued")
            # When it was changed is told only of bytes that are taken: those that are refused change nothing.
            if not store.change(tx, image, if_status="queued", status="saving", updated_at=found.updated_at):
                raise Conflict(f"Image status transition from {found.status} to saving is not allowed")
            store.has_file(tx, image, file, me)
            return found.disk_format

        def end(tx: Tx) -> bool:
            if store.image(tx, image) is None or store.file_of(tx, image) != file:
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

        self._writing.add(file)
        try:
            disk_format = await self._database.transact(begin)
            try:
                stored = await self._files.write(file, disk_format, pieces)
                ended = await self._database.transact(end)
            except BaseException:
                # A commit that was not answered may have made it active: then it stays so.
                if await self._database.transact(lambda tx: _requeue(tx, image, file)):
                    await self._files.remove(file)
                raise
        finally:
            self._writing.discard(file)
        if not ended:
            # Deleted while its bytes came in, or given to another controller, which took us for dead.
            await self._files.remove(file)
            raise NotFound(f"No image found with ID {image}")

    async def having(self, properties: Mapping[str, str]) -> list[Image]:
        every = await self._database.read(store.every)
        return [image for image in every if properties.items() <= image.properties.items()]

    async def remove(self, image: ImageId, check: Callable[[Tx], None] = lambda _tx: None) -> None:
        """Remove an image, unless `check` raises. The description goes first: a file without one is swept away."""

        def forget(tx: Tx) -> str:
            check(tx)
            file = store.file_of(tx, image) or image
            store.remove(tx, image)
            return file

        await self._files.remove(await self._database.transact(forget))


def _requeue(tx: Tx, image: str, file: str) -> bool:
    """Have the image wait for bytes again, if it waits for those of this file; say whether the file is of no use."""
    found = store.image(tx, image)
    if found is None or store.file_of(tx, image) != file:
        return True
    requeued = store.change(tx, image, if_status="saving", status="queued", updated_at=found.updated_at)
    if requeued:
        store.has_no_file(tx, image)
    return requeued
