"""What a host's instances directory makes of files that guests, or other programs, have written."""

import hashlib
import os
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from renova.drivers.hypervisor.disks import Disks
from renova.model.chance import SystemChance
from renova.model.clock import SystemClock
from renova.model.errors import BadSetup, NotNow
from renova.model.guest import LocalDisks
from renova.model.ids import ServerId

SERVER = ServerId("00000000-0000-4000-8000-000000000001")
UNUSED = hashlib.sha256(b"an image that no server uses").hexdigest()


def disks(instances: Path) -> Disks:
    return Disks(instances, SystemClock(), SystemChance())


def have(instances: Path, **files: bytes) -> Path:
    at = instances / SERVER
    at.mkdir()
    for name, content in files.items():
        (at / name.replace("_", ".")).write_bytes(content)
    return at


def header(offset: int, length: int, text: bytes = b"") -> bytes:
    """Return what a disk begins with that says of itself to be qcow2, with the name of what it is built on."""
    start = struct.pack(">4sIQI", b"QFI\xfb", 3, offset, length)
    return (start.ljust(512, b"\0") + text).ljust(4096, b"\0")


async def test_a_directory_that_is_away_is_asked_for_again_and_one_that_is_none_is_not(tmp_path: Path) -> None:
    with pytest.raises(NotNow, match="O_DIRECT"):
        await disks(Path("/proc/nowhere/instances")).check()  # where nothing can be made, by whomever
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSetup, match="O_DIRECT"):
        await disks(tmp_path / "file").check()


async def test_on_a_mount_point_without_its_storage_nothing_is_made_nor_taken_for_gone(tmp_path: Path) -> None:
    """A host whose mount failed at a boot, or was taken away while its agent runs, waits until it is back."""
    instances, away = tmp_path / "instances", tmp_path / "away"
    instances.mkdir()
    on_storage = Disks(instances, SystemClock(), SystemChance(), known=tmp_path / "known")
    await on_storage.check()
    identity = await on_storage.storage_id()
    have(instances, disk_1=b"x")
    instances.rename(away)
    instances.mkdir()
    booted = Disks(instances, SystemClock(), SystemChance(), known=tmp_path / "known")
    asked: list[Callable[[], Awaitable[object]]] = [
        booted.check,
        on_storage.storage_id,
        lambda: on_storage.own(SERVER, 2),
        lambda: on_storage.has(SERVER, LocalDisks(1, None)),
        lambda: on_storage.drop(SERVER, None, 1),
        lambda: on_storage.set_aside(SERVER, 1),
    ]
    for each in asked:
        with pytest.raises(NotNow, match=r"is it mounted\?"):
            await each()
    assert list(instances.iterdir()) == []
    instances.rmdir()
    away.rename(instances)
    await booted.check()
    assert await booted.storage_id() == identity
    assert (instances / SERVER / "disk.1").read_bytes() == b"x"


@pytest.mark.parametrize("name", ["disk_eph0_1", "disk_swap_1"])
@pytest.mark.parametrize(
    "written",
    [header(2**64 - 1, 10), header(2**63 - 1, 10), header(512, len(UNUSED), UNUSED.encode())],
    ids=["beyond all", "beyond any file", "an image that others have cached"],
)
async def test_what_a_guest_writes_on_its_raw_disks_decides_about_no_cached_image(
    tmp_path: Path, name: str, written: bytes
) -> None:
    have(tmp_path, **{name: written})
    image = tmp_path / "_base" / UNUSED
    image.parent.mkdir()
    image.write_bytes(b"x")
    os.utime(image, (0, 0))
    assert await disks(tmp_path).drop_images((), 3600) == [UNUSED]


async def test_the_image_that_a_root_disk_is_built_on_stays(tmp_path: Path) -> None:
    have(tmp_path, disk_1=header(512, len(UNUSED), UNUSED.encode()))
    image = tmp_path / "_base" / UNUSED
    image.parent.mkdir()
    image.write_bytes(b"x")
    os.utime(image, (0, 0))
    assert await disks(tmp_path).drop_images((), 3600) == []


@pytest.mark.parametrize(("limit", "end"), [(100, b"first, before, now"), (10, b"efore, now"), (2, b"ow"), (0, b"")])
async def test_a_console_log_that_was_turned_over_is_read_to_its_end(tmp_path: Path, limit: int, end: bytes) -> None:
    """libvirt's virtlogd does so: what was written last is in the file without a second number."""
    have(tmp_path, console_log_1=b"now", console_log_1_0=b"before, ", console_log_1_1=b"first, ")
    assert await disks(tmp_path).console(SERVER, limit) == end


async def test_the_console_log_of_the_newest_generation_that_wrote_anything_is_read(tmp_path: Path) -> None:
    have(tmp_path, console_log_9=b"of 9", console_log_10=b"of 10", console_log_11=b"", console_log_9_10=b"x")
    assert await disks(tmp_path).console(SERVER, 100) == b"of 10"


async def test_of_a_rebuilt_server_no_turned_over_log_of_a_former_generation_stays(tmp_path: Path) -> None:
    names = ("disk_2", "console_log_2", "console_log_2_0", "disk_1", "console_log_1", "console_log_1_2")
    at = have(tmp_path, **dict.fromkeys(names, b"x"))
    assert await disks(tmp_path).drop(SERVER, 2, None)
    assert {path.name for path in at.iterdir()} == {"owner", "disk.2", "console.log.2", "console.log.2.0"}
