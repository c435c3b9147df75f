"""Cached images are deleted when nobody needs them, and never under somebody who does; on real files."""

import asyncio
import hashlib
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from renova.drivers.hypervisor.disks import Disks
from renova.drivers.hypervisor.image_cache import ImageCache
from renova.drivers.hypervisor.qemu_img import backing_name
from renova.model.chance import SystemChance
from renova.model.clock import SystemClock
from renova.model.errors import NotNow, Refused
from renova.model.guest import RootDisk
from renova.model.ids import ImageId

CONTENT = b"an image"
DAY = 86_400.0


def a_root(name: str) -> RootDisk:
    return RootDisk(ImageId(name), "raw", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), 1)


class Source:
    """Gives the same content for every image, and counts."""

    def __init__(self) -> None:
        self.asked: list[ImageId] = []

    async def read(self, image: ImageId) -> AsyncIterator[bytes]:
        self.asked.append(image)
        yield CONTENT


@pytest.fixture
def instances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # What qemu-img says of images is for tests that have it.
    async def fine(_path: Path, _format: str) -> None: ...

    monkeypatch.setattr("renova.drivers.hypervisor.qemu_img.check_image", fine)
    return tmp_path / "instances"


@pytest.fixture
def cache(instances: Path) -> ImageCache:
    return ImageCache(instances / "_base", SystemClock())


def age(path: Path, seconds: float) -> None:
    """Have the file look as if it was wanted last so long ago."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def an_overlay(path: Path, backing: str) -> None:
    """Write the beginning of a qcow2 file that is built on another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">4sIQI", b"QFI\xfb", 3, 512, len(backing))
    path.write_bytes(header.ljust(512, b"\0") + backing.encode())


async def test_an_unused_image_goes_after_its_grace(cache: ImageCache) -> None:
    path = await cache.have(a_root("one"), Source())
    assert await cache.drop((), (), DAY) == []
    age(path, DAY + 1)
    assert await cache.drop((), (), DAY) == [path.name]
    assert not path.exists()


async def test_a_used_or_kept_image_stays_however_old(cache: ImageCache) -> None:
    one, two = await cache.have(a_root("one"), Source()), await cache.have(a_root("two"), Source())
    age(one, 10 * DAY)
    age(two, 10 * DAY)
    assert await cache.drop({one.name}, [a_root("two").cached], DAY) == []


async def test_who_wants_an_image_keeps_it_for_a_while(cache: ImageCache) -> None:
    source = Source()
    path = await cache.have(a_root("one"), source)
    age(path, 10 * DAY)
    assert await cache.have(a_root("one"), source) == path
    assert await cache.drop((), (), DAY) == []
    assert len(source.asked) == 1


async def test_who_wants_an_image_that_is_being_deleted_gets_it_whole(cache: ImageCache) -> None:
    for _ in range(20):
        source = Source()
        path = await cache.have(a_root("one"), source)
        age(path, 10 * DAY)
        _, wanted = await asyncio.gather(cache.drop((), (), DAY), cache.have(a_root("one"), source))
        assert wanted.read_bytes() == CONTENT


async def test_what_a_disk_is_built_on_stays_wherever_the_disk_lies(instances: Path) -> None:
    disks = Disks(instances, SystemClock(), SystemChance())
    cache = ImageCache(instances / "_base", SystemClock())
    paths = [await cache.have(a_root(name), Source()) for name in ("one", "two", "three")]
    for path in paths:
        age(path, 10 * DAY)
    an_overlay(instances / "a-server" / "disk.1", f"../_base/{paths[0].name}")
    an_overlay(instances / "_aside" / "a-server-1-then" / "disk.1", f"../_base/{paths[1].name}")
    assert await disks.drop_images((), DAY) == [paths[2].name]


async def test_nothing_goes_while_a_disk_cannot_be_read(instances: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disks = Disks(instances, SystemClock(), SystemChance())
    path = await ImageCache(instances / "_base", SystemClock()).have(a_root("one"), Source())
    age(path, 10 * DAY)
    an_overlay(instances / "a-server" / "disk.1", "../_base/other")

    def broken(_path: Path) -> str | None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("renova.drivers.hypervisor.qemu_img.backing_name", broken)
    with pytest.raises((NotNow, Refused), match="Input/output error"):
        await disks.drop_images((), DAY)
    assert path.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"QFI",
        b"\0" * 512,
        struct.pack(">4sIQI", b"QFI\xfb", 3, 0, 0),
        struct.pack(">4sIQI", b"QFI\xfb", 3, 20, 9999),
    ],
)
def test_a_file_without_another_below_it_names_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "disk"
    path.write_bytes(content)
    assert backing_name(path) is None
