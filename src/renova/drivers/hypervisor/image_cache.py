"""Images on a host, each downloaded once and then only read: `_base` in the instances directory.

The directory may be shared: then one host downloads and the others wait for it.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from renova.drivers.blocking import in_thread
from renova.drivers.file_lock import locked
from renova.drivers.hypervisor import ImageSource, qemu_img
from renova.drivers.hypervisor.image import verified
from renova.durable import publish, sync_file
from renova.model.clock import Clock
from renova.model.guest import CachedImage, RootDisk


class ImageCache:
    """The cached images below `directory`. A file under its final name is whole, verified and safe to open."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._here: dict[str, asyncio.Lock] = {}  # so that waiters in this process need not ask for the file lock

    def path(self, root: RootDisk) -> Path:
        """Return where the image is, or will be: another content is another file."""
        return self._directory / _name(root.cached)

    async def have(self, root: RootDisk, images: ImageSource) -> Path:
        """Have the image here and return its path; `Refused` when it is not what it claims or not safe."""
        path = self.path(root)
        await in_thread(None, self._directory.mkdir, mode=0o755, parents=True, exist_ok=True)
        async with self._held(path):
            try:
                await in_thread(None, os.utime, path)  # it is wanted: `drop` leaves it alone for a while
            except FileNotFoundError:
                await self._download(root, images, path)
        return path

    async def drop(self, keep: Collection[str], in_use: Collection[CachedImage], grace_s: float) -> list[str]:
        """Delete the cached images that are neither used nor to be kept (by name), nor were wanted within `grace_s`.

        Returns their names.
        """
        kept = {*keep, *map(_name, in_use)}
        dropped = []
        for path in await in_thread(None, self._cached):
            if path.name not in kept:
                async with self._held(path):
                    if await in_thread(None, self._drop_old, path, grace_s):
                        dropped.append(path.name)
        return dropped

    @asynccontextmanager
    async def _held(self, path: Path) -> AsyncIterator[None]:
        """Be the only one, on all hosts that share the cache, who makes or deletes this image."""
        async with self._here.setdefault(path.name, asyncio.Lock()), locked(path.with_suffix(".lock"), self._clock):
            yield

    def _cached(self) -> list[Path]:
        try:
            return sorted(path for path in self._directory.iterdir() if not path.suffix)
        except FileNotFoundError:
            return []

    def _drop_old(self, path: Path, grace_s: float) -> bool:
        try:
            unwanted_s = self._clock.wall().timestamp() - path.stat().st_mtime
        except FileNotFoundError:
            return False
        if unwanted_s < grace_s:
            return False
        path.unlink()
        return True

    async def _download(self, root: RootDisk, images: ImageSource, path: Path) -> None:
        partial = path.with_suffix(".part")  # a killed process leaves it, the next download begins it anew
        try:
            file = await in_thread(None, partial.open, "wb")
            with file:
                async for chunk in verified(root, images):
                    await in_thread(None, file.write, chunk)
                await in_thread(None, sync_file, file)
            await qemu_img.check_image(partial, root.image_format)
            await in_thread(None, publish, partial, path)
        finally:
            await in_thread(None, partial.unlink, missing_ok=True)


def _name(image: CachedImage) -> str:
    return hashlib.sha256(f"{image.image} {image.image_format} {image.image_sha256}".encode()).hexdigest()
