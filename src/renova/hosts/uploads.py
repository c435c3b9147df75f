"""An image on its way from a host into the image service, taken only while an operation asks that host for it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from renova.model.errors import Broken, NotNow, Refused
from renova.model.ids import HostId, ImageId
from renova.wire import ImageBytes, ImageTaken


class Upload:
    """One image as it comes in: one piece at a time, in order, and whole only with the sender's checksum."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[ImageBytes] = asyncio.Queue(1)  # no more: the next waits at its host
        self._over: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._offset = 0

    async def take(self, message: ImageBytes) -> None:
        """Take the next piece, once there is room for it. `Refused`, or whatever ended the upload at its other end."""
        if message.offset != self._offset:
            raise Refused(f"the bytes from {self._offset} on are expected, not from {message.offset}")
        room = asyncio.get_running_loop().create_task(self._arrived.put(message))
        self._over.add_done_callback(lambda _: room.cancel())
        await asyncio.wait([room])
        if self._over.done():
            raise self._over.result() or Refused("nobody takes this image any more")
        self._offset += len(message.data)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the pieces; ends when the image is whole. `Broken` when it is not what its host sent."""
        digest = hashlib.sha256()
        while True:
            message = await self._arrived.get()
            digest.update(message.data)
            if message.data:
                yield message.data
                continue
            if message.sha256 != digest.hexdigest():
                raise Broken("the image did not arrive as its host sent it")
            return

    def end(self, error: Exception | None) -> None:
        """Take no more; who still sends hears the error."""
        if not self._over.done():
            self._over.set_result(error)


class Uploads:
    """The images that are being asked for."""

    def __init__(self) -> None:
        self._open: dict[tuple[HostId, ImageId], Upload] = {}

    @contextmanager
    def of(self, host: HostId, image: ImageId) -> Iterator[Upload]:
        """Take this image from this host, as long as the context lasts."""
        upload = Upload()
        former = self._open.pop((host, image), None)
        if former is not None:
            former.end(None)
        self._open[host, image] = upload
        try:
            yield upload
        finally:
            upload.end(None)
            if self._open.get((host, image)) is upload:
                del self._open[host, image]

    async def take(self, host: HostId, message: ImageBytes) -> ImageTaken:
        """Take a piece that a host sent, and return what it is told."""
        upload = self._open.get((host, message.image))
        if upload is None:
            return ImageTaken(id=message.id, error="no operation asks this host for the image", why="refused")
        try:
            await upload.take(message)
        except NotNow as error:
            return ImageTaken(id=message.id, error=str(error), why="not_now")
        except Exception as error:  # noqa: BLE001  (whatever the image service said, the operation hears it in full)
            return ImageTaken(id=message.id, error=str(error), why="refused")
        return ImageTaken(id=message.id)
