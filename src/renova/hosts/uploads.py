"""An image on its way from a host into the image service, taken only while an operation asks that host for it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from renova.model.errors import Broken, Refused
from renova.model.ids import HostId, ImageId
from renova.wire.images import ImageBytes, ImageTaken


class Upload:
    """One image as it comes in: one piece at a time, in order, and whole only with the sender's checksum."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[ImageBytes] = asyncio.Queue(1)  # no more: the next waits at its host
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._offset = 0

    async def take(self, message: ImageBytes) -> None:
        """Take the next piece, once there is room for it. `Refused` when it is not wanted (any more)."""
        if message.offset != self._offset:
            raise Refused(f"the bytes from {self._offset} on are expected, not from {message.offset}")
        if not self._over.done() and await self._put(message):
            self._offset += len(message.data)
        else:
            raise Refused(self._over.result() or "nobody takes this image any more")

    async def _put(self, message: ImageBytes) -> bool:
        """Wait for room; False when nobody takes any more before there is."""
        putting = asyncio.get_running_loop().create_task(self._arrived.put(message))

        def give_up(_over: object) -> None:
            putting.cancel()

        self._over.add_done_callback(give_up)
        try:
            await asyncio.wait([putting])
            return not putting.cancelled()
        finally:
            self._over.remove_done_callback(give_up)
            putting.cancel()

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

    def end(self, reason: str = "") -> None:
        """Take no more; who still sends hears the reason."""
        if not self._over.done():
            self._over.set_result(reason)


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
            former.end()
        self._open[host, image] = upload
        try:
            yield upload
        finally:
            upload.end()
            if self._open.get((host, image)) is upload:
                del self._open[host, image]

    async def take(self, host: HostId, message: ImageBytes) -> ImageTaken:
        """Take a piece that a host sent, and return what it is told."""
        upload = self._open.get((host, message.image))
        if upload is None:
            return ImageTaken(id=message.id, error="no operation asks this host for the image", why="refused")
        try:
            await upload.take(message)
        except Refused as error:
            return ImageTaken(id=message.id, error=str(error), why="refused")
        return ImageTaken(id=message.id)
