"""The instances directory, with the real qemu-img and real files."""

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from renova.drivers.file_lock import locked
from renova.drivers.hypervisor.disks import Disks
from renova.drivers.hypervisor.qemu_img import check_image
from renova.model.chance import SystemChance
from renova.model.clock import SystemClock
from renova.model.errors import BadSetup, Broken, NotNow, Refused
from renova.model.guest import Guest, RootDisk
from renova.model.ids import ImageId
from tests.contract.benches import Images, a_guest

pytestmark = pytest.mark.live


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    return tmp_path / "instances"


@pytest.fixture
def disks(instances: Path) -> Disks:
    return Disks(instances, SystemClock(), SystemChance())


def qcow2(directory: Path, *options: str, size: str = "64M") -> bytes:
    path = directory / "made.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), size], check=True)
    return path.read_bytes()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def root_path(disks: Disks, guest: Guest) -> Path:
    path = disks.paths(guest.server, guest.disks).root
    assert path
    return path


def backing_of(path: Path) -> Path:
    out = subprocess.run(["qemu-img", "info", "-U", str(path)], capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in out.splitlines() if line.startswith("backing file:")]
    return (path.parent / line.split()[2]).resolve()


async def test_an_overlay_is_as_large_as_its_flavor_says(disks: Disks, tmp_path: Path) -> None:
    images = Images()
    guest = a_guest(images.add(qcow2(tmp_path), "qcow2", size_gb=2))
    await disks.prepare(guest, images)
    root = root_path(disks, guest)
    out = await asyncio.to_thread(subprocess.check_output, ["qemu-img", "info", "--output=json", str(root)])
    assert msgspec.json.decode(out)["virtual-size"] == 2 << 30
    assert (await asyncio.to_thread(backing_of, root)).parent.name == "_base"


async def test_without_a_size_the_disk_is_as_large_as_the_image(disks: Disks, tmp_path: Path) -> None:
    images = Images()
    guest = a_guest(images.add(qcow2(tmp_path), "qcow2", size_gb=0))
    await disks.prepare(guest, images)
    root = root_path(disks, guest)
    out = await asyncio.to_thread(subprocess.check_output, ["qemu-img", "info", "--output=json", str(root)])
    assert msgspec.json.decode(out)["virtual-size"] == 64 << 20


async def test_an_image_whose_disk_is_larger_than_the_flavors_is_refused(disks: Disks, tmp_path: Path) -> None:
    images = Images()
    guest = a_guest(images.add(qcow2(tmp_path, size="2G"), "qcow2", size_gb=1))
    with pytest.raises(Refused, match="1 GiB"):
        await disks.prepare(guest, images)
    assert not await disks.has(guest.server, guest.disks)


async def test_an_image_that_names_a_file_of_the_host_is_refused(disks: Disks, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for options in (["-b", str(secret), "-F", "raw"], ["-o", f"data_file={secret},data_file_raw=on"]):
        images = Images()
        guest = a_guest(images.add(qcow2(tmp_path, *options), "qcow2"))
        with pytest.raises(Refused, match="flatten it"):
            await disks.prepare(guest, images)


async def test_a_failed_download_leaves_nothing_behind(disks: Disks, instances: Path, tmp_path: Path) -> None:
    images = Images()
    guest = a_guest(images.add(b"not qcow2", "qcow2"))
    with pytest.raises(Refused):
        await disks.prepare(guest, images)
    assert [path.suffix for path in (instances / "_base").iterdir()] == [".lock"]


class Stalled:
    """An image that never comes to its end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def read(self, image: ImageId) -> AsyncIterator[bytes]:
        yield b"x"
        self.begun.set()
        await asyncio.Event().wait()


async def test_a_cancelled_download_gives_way_to_the_next(disks: Disks, instances: Path) -> None:
    content = b"x" * (1 << 20)
    root = RootDisk(ImageId("i"), "raw", len(content), hashlib.sha256(content).hexdigest(), 1)
    stalled, whole = Stalled(), Images({root.image: content})
    first = asyncio.create_task(disks.prepare(a_guest(root), stalled))
    await stalled.begun.wait()
    second = asyncio.create_task(disks.prepare(a_guest(root), whole))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second
    assert not list((instances / "_base").glob("*.part"))


async def test_a_download_by_another_process_is_waited_for(disks: Disks, instances: Path) -> None:
    images = Images()
    guest = a_guest(images.add(b"x" * 512))
    base = instances / "_base"
    base.mkdir(parents=True)
    await disks.prepare(a_guest(images.add(b"y" * 512)), images)
    (lock,) = base.glob("*.lock")
    holder = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, 2); print(flush=True); sys.stdin.read()",
        str(lock),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert holder.stdout
    assert holder.stdin
    await holder.stdout.readline()
    taken = asyncio.Event()

    async def take() -> None:
        async with locked(lock, SystemClock(), ask_every_s=0.01):
            taken.set()

    waiting = asyncio.create_task(take())
    await disks.prepare(guest, images)  # other images do not wait
    assert not taken.is_set()
    holder.stdin.close()
    await holder.wait()
    await asyncio.wait_for(waiting, 10)


async def test_a_cancelled_check_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file, program = tmp_path / "pid", tmp_path / "prlimit"
    os.mkfifo(pid_file)
    program.write_text(f"#!/bin/sh\necho $$ > {pid_file}\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    check = asyncio.create_task(check_image(program, "raw"))
    pid = int(await asyncio.to_thread(pid_file.read_text))
    check.cancel()
    with pytest.raises(asyncio.CancelledError):
        await check
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_leftovers_of_a_crash_do_no_harm(disks: Disks, instances: Path) -> None:
    images = Images()
    guest = a_guest(images.add(b"x" * 512))
    at = instances / guest.server
    at.mkdir(parents=True)
    (at / "disk.config.part").write_bytes(b"half")
    (at / "disk.1.part-some").write_bytes(b"half")
    (at / "owner").write_bytes(b"")
    assert await disks.prepare(guest, images)
    assert await disks.drop(guest.server, 1, None)
    assert names(at) == ["console.log.1", "disk.1", "disk.config", "owner"]
    assert await disks.drop(guest.server, None, None)
    assert not at.exists()


async def test_a_root_disk_never_takes_the_place_of_another(disks: Disks, instances: Path) -> None:
    images = Images()
    guest = a_guest(images.add(b"x" * 512))
    root = root_path(disks, guest)

    class MadeMeanwhile:
        async def read(self, image: ImageId) -> AsyncIterator[bytes]:
            async for chunk in images.read(image):
                yield chunk
            root.write_bytes(b"another host's")

    assert not await disks.prepare(guest, MadeMeanwhile())
    assert root.read_bytes() == b"another host's"


async def test_disks_of_which_some_are_left_are_not_taken_for_given_up(disks: Disks, tmp_path: Path) -> None:
    images = Images()
    plain = a_guest(images.add(qcow2(tmp_path), "qcow2", size_gb=1))
    replace = msgspec.structs.replace
    old = replace(plain, disks=replace(plain.disks, swap_mb=16))
    new = replace(old, disks=replace(old.disks, generation=old.disks.generation + 1))
    for each in (old, new):
        await disks.prepare(each, images)
    swap = disks.paths(old.server, old.disks).swap
    assert swap is not None
    swap.unlink()
    assert not await disks.has(old.server, old.disks)
    assert await disks.newer(old.server, old.disks) == 0
    root_path(disks, old).unlink()
    assert await disks.newer(old.server, old.disks) == new.disks.generation


async def test_what_holds_secrets_is_the_hosts_alone(disks: Disks) -> None:
    images = Images()
    guest = a_guest(images.add(b"x" * 512))
    await disks.prepare(guest, images)
    paths = disks.paths(guest.server, guest.disks)
    assert [path.stat().st_mode & 0o77 for path in (*paths.disks, paths.config_drive, paths.console)] == [0, 0, 0]


async def test_hosts_that_come_at_once_agree_on_the_storages_identity(instances: Path) -> None:
    many = [Disks(instances, SystemClock(), SystemChance()) for _ in range(8)]
    (identity,) = set(await asyncio.gather(*(disks.storage_id() for disks in many)))
    assert len(identity) == 36
    assert names(instances) == [".storage-id"]


async def test_a_directory_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    disks = Disks(tmp_path / "file", SystemClock(), SystemChance())
    with pytest.raises(BadSetup, match="file"):
        await disks.check()
    with pytest.raises((Refused, NotNow), match="instances directory"):
        await disks.storage_id()


async def test_an_id_that_is_no_uuid_touches_no_path(disks: Disks, instances: Path) -> None:
    outside = instances.parent / "precious"
    for directory in (instances, outside):
        await asyncio.to_thread(directory.mkdir)
    guest = msgspec.structs.replace(a_guest(Images().add(b"x")), server="../precious")
    with pytest.raises(Broken):
        await disks.drop(guest.server, None, None)
    assert outside.exists()


async def test_a_disk_that_was_set_aside_still_has_its_image(disks: Disks, instances: Path, tmp_path: Path) -> None:
    images = Images()
    guest = a_guest(images.add(qcow2(tmp_path), "qcow2", size_gb=1))
    await disks.prepare(guest, images)
    root = disks.paths(guest.server, guest.disks).root
    assert root is not None
    base = await asyncio.to_thread(backing_of, root)
    assert await disks.set_aside(guest.server, guest.incarnation)
    (aside,) = await disks.asides()
    kept = instances / "_aside" / aside.name / "disk.1"
    assert await asyncio.to_thread(backing_of, kept) == base
    await asyncio.to_thread(subprocess.check_call, ["qemu-img", "check", "-q", str(kept)])
    assert (instances / "_aside").stat().st_mode & 0o777 == 0o700, "what is aside is nobody else's to read"
    assert [each.name for each in await disks.drop_asides(older_than_s=-1)] == [aside.name]
    assert not kept.parent.exists()
    assert base.exists(), "an image may be used by others"
