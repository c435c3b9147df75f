"""What every storage promises: the simulated one, and the real one with a real daemon, read and written over NBD."""

import asyncio
import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import which
from typing import Protocol

import pytest

from renova.drivers.volume import Storage
from renova.drivers.volume.nbd import NbdStorage
from renova.drivers.volume.simulated import SimulatedVolumes
from renova.model.clock import SystemClock
from renova.model.errors import CloudError, Refused
from renova.model.ids import HostId, ImageId, SnapshotId, VolumeId
from renova.model.storage import Blank, Export, OfImage, OfSnapshot, OfVolume, Source, WantedVolume

MIB = 1 << 20
VOLUME, COPY = VolumeId("00000000-0000-4000-8000-0000000000a1"), VolumeId("00000000-0000-4000-8000-0000000000a2")
SNAPSHOT = SnapshotId("00000000-0000-4000-8000-0000000000b1")
IMAGE = ImageId("00000000-0000-4000-8000-0000000000c1")
HOST, OTHER_HOST = (HostId(f"00000000-0000-4000-8000-0000000000d{n}") for n in (1, 2))


def free_port() -> int:
    """Return a port that nobody uses, and that nobody is given by chance: below those of outgoing connections."""
    while True:
        port = random.randrange(12_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


PORT, OTHER_PORT = free_port(), free_port()
FIRST, SECOND = Export("first-secret", HOST, PORT), Export("second-secret", HOST, PORT)
ELSEWHERE = Export("third-secret", OTHER_HOST, OTHER_PORT)


class Bench(Protocol):
    """A storage, and guests that reach it."""

    lost: int  # how often all exports for a host were lost

    @property
    def storage(self) -> Storage: ...
    def note_loss(self) -> None: ...
    async def size(self, name: str) -> int | None:
        """Return how many bytes a guest sees; None where that is only pretended."""
        ...

    async def write(self, name: str, pattern: int) -> bool:
        """Write a sector through this export; whether it arrived."""
        ...

    async def read(self, name: str) -> int | None:
        """Return which pattern the first sector has; None when nothing is served under this name."""
        ...

    async def connect(self, name: str) -> "Client": ...
    async def lose_exports(self) -> None:
        """Have all exports for `HOST` vanish."""
        ...

    async def restart(self) -> None:
        """End the storage without a word, as its host does, and begin it again."""
        ...


class Client(Protocol):
    """A guest that stays connected."""

    async def write(self, pattern: int) -> bool: ...
    async def close(self) -> None: ...


class Images:
    """One image: a raw disk whose first sector is of `pattern`."""

    def __init__(self, pattern: int = 0x33) -> None:
        self.data = bytes([pattern]) * 512 + bytes(MIB - 512)

    @property
    def source(self) -> OfImage:
        return OfImage(IMAGE, "raw", len(self.data), hashlib.sha256(self.data).hexdigest())

    async def read(self, image: ImageId) -> AsyncIterator[bytes]:
        for start in range(0, len(self.data), 1 << 16):
            yield self.data[start : start + (1 << 16)]


def want(
    *exports: Export,
    volume: VolumeId = VOLUME,
    size: int = 4 * MIB,
    generation: int = 1,
    source: Source | None = None,
    made: bool = False,
) -> WantedVolume:
    return WantedVolume(
        volume=volume, size_bytes=size, generation=generation, source=source or Blank(), made=made, exports=exports
    )


class SimulatedBench:
    def __init__(self) -> None:
        self.storage = SimulatedVolumes(SystemClock(), copy_s=0)
        self.lost = 0

    def note_loss(self) -> None:
        self.lost += 1

    async def write(self, name: str, pattern: int) -> bool:
        try:
            self.storage.write(name, f"{pattern}")
        except CloudError:
            return False
        return True

    async def read(self, name: str) -> int | None:
        try:
            content = self.storage.read(name)
        except CloudError:
            return None
        last = content.rpartition("+")[2]
        return int(last) if last.isdecimal() else 0x33 if content.startswith("image") else 0

    async def size(self, name: str) -> int | None:
        return None

    async def connect(self, name: str) -> Client:
        return SimulatedClient(self, name)

    async def lose_exports(self) -> None:
        self.storage.lose_exports(HOST)

    async def restart(self) -> None:
        self.storage.cut_power()
        await self.storage.open(self.note_loss)


class SimulatedClient:
    def __init__(self, bench: SimulatedBench, name: str) -> None:
        self._bench, self._name = bench, name

    async def write(self, pattern: int) -> bool:
        return await self._bench.write(self._name, pattern)

    async def close(self) -> None:
        pass


class RealBench:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.storage: Storage = self._made()
        self.lost = 0
        self._loss = asyncio.Event()

    def _made(self) -> NbdStorage:
        return NbdStorage(self._directory, SystemClock(), address="127.0.0.1", ports=range(PORT, PORT + 1), tls=None)

    def note_loss(self) -> None:
        self.lost += 1
        self._loss.set()

    def url(self, name: str) -> str:
        return f"nbd://127.0.0.1:{OTHER_PORT if name == ELSEWHERE.name else PORT}/{name}"

    async def io(self, name: str, command: str) -> bool:
        reading = ["-r"] if command.startswith("read") else []
        argv = ["qemu-io", *reading, "-f", "raw", "-c", command, self.url(name)]
        ended = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=30, check=False)
        return ended.returncode == 0 and "failed" not in ended.stdout

    async def write(self, name: str, pattern: int) -> bool:
        return await self.io(name, f"write -P {pattern} 0 512")

    async def read(self, name: str) -> int | None:
        for pattern in (0, 1, 2, 0x33):
            if await self.io(name, f"read -P {pattern} 0 512"):
                return pattern
        return None

    async def size(self, name: str) -> int | None:
        argv = ["qemu-img", "info", "--output=json", "-f", "raw", self.url(name)]
        ended = await asyncio.to_thread(subprocess.run, argv, capture_output=True, timeout=30, check=True)
        return int(json.loads(ended.stdout)["virtual-size"])

    async def connect(self, name: str) -> Client:
        process = await asyncio.create_subprocess_exec(
            *("qemu-io", "-f", "raw", self.url(name)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        client = RealClient(process)
        assert await client.write(1)
        return client

    async def lose_exports(self) -> None:
        pid = (self._directory / "run" / f"{PORT}.pid").read_text().strip()
        os.kill(int(pid), signal.SIGKILL)
        async with asyncio.timeout(60):
            await self._loss.wait()

    async def restart(self) -> None:
        # The former is told nothing, as if its agent were killed: whoever comes next ends its daemon.
        former, self.storage = self.storage, self._made()
        await self.storage.open(self.note_loss)
        await former.close()


class RealClient:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def write(self, pattern: int) -> bool:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(f"write -P {pattern} 0 512\n".encode())
            await stdin.drain()
            async with asyncio.timeout(60):
                while line := (await stdout.readline()).decode():
                    if "failed" in line or "error" in line:
                        return False
                    if "wrote 512/512" in line:
                        return True
        except ConnectionError:
            pass
        return False

    async def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


@pytest.fixture(params=["simulated", "real"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    programs = ("qemu-storage-daemon", "qemu-io", "qemu-img", "setpriv")
    if request.param == "real" and (missing := [program for program in programs if which(program) is None]):
        pytest.skip(f"not installed: {', '.join(missing)}")
    made: Bench
    made = SimulatedBench() if request.param == "simulated" else RealBench(tmp_path)
    await made.storage.open(made.note_loss)
    yield made
    await made.storage.close()


async def test_a_volume_is_served_under_the_names_that_are_wanted_and_no_others(bench: Bench) -> None:
    assert await bench.storage.have(want(), Images()) == ()
    assert await bench.read(FIRST.name) is None
    assert await bench.storage.have(want(FIRST), Images()) == (FIRST,)
    assert await bench.storage.have(want(FIRST), Images()) == (FIRST,)
    assert await bench.read(FIRST.name) == 0
    assert await bench.write(FIRST.name, 1)
    assert await bench.storage.have(want(SECOND), Images()) == (SECOND,)
    assert await bench.read(FIRST.name) is None
    assert await bench.read(SECOND.name) == 1
    assert await bench.storage.exports(VOLUME) == (SECOND,)


async def test_who_was_connected_is_cut_off_for_certain_before_the_next_one_is_served(bench: Bench) -> None:
    await bench.storage.have(want(FIRST), Images())
    old = await bench.connect(FIRST.name)
    assert await old.write(1)
    await bench.storage.have(want(SECOND), Images())
    assert await bench.write(SECOND.name, 2)
    assert not await old.write(1)
    assert await bench.read(SECOND.name) == 2
    await old.close()


async def test_an_export_that_is_not_writable_takes_no_write(bench: Bench) -> None:
    await bench.storage.have(want(Export("look", HOST, PORT, writable=False)), Images())
    assert await bench.read("look") == 0
    assert not await bench.write("look", 1)
    assert await bench.read("look") == 0


@pytest.mark.parametrize("how", ["restart", "lose_exports"])
async def test_after_a_restart_nothing_is_served_until_it_is_told(bench: Bench, how: str) -> None:
    await bench.storage.have(want(FIRST), Images())
    assert await bench.write(FIRST.name, 1)
    await (bench.restart() if how == "restart" else bench.lose_exports())
    assert bench.lost == (how == "lose_exports")
    assert await bench.storage.exports(VOLUME) == ()
    assert await bench.read(FIRST.name) is None
    await bench.storage.have(want(SECOND), Images())
    assert await bench.read(FIRST.name) is None
    assert await bench.read(SECOND.name) == 1


async def test_a_volume_gets_an_images_content_once_a_generation(bench: Bench) -> None:
    images = Images()
    await bench.storage.have(want(FIRST, source=images.source), images)
    assert await bench.read(FIRST.name) == 0x33
    assert await bench.write(FIRST.name, 1)
    await bench.storage.have(want(FIRST, source=images.source), images)
    assert await bench.read(FIRST.name) == 1
    with pytest.raises(Refused):
        await bench.storage.have(want(FIRST, source=images.source, generation=2), images)
    assert await bench.read(FIRST.name) == 1
    await bench.storage.have(want(source=images.source, generation=2), images)
    await bench.storage.have(want(SECOND, source=images.source, generation=2), images)
    assert await bench.read(SECOND.name) == 0x33


async def test_a_content_that_is_newer_than_a_restored_database_knows_of_stays_and_is_served(bench: Bench) -> None:
    images = Images()
    await bench.storage.have(want(), images)
    await bench.storage.have(want(source=images.source, generation=2), images)
    await bench.storage.have(want(FIRST, made=True), images)
    assert await bench.read(FIRST.name) == 0x33
    await bench.storage.have(want(), images)
    await bench.storage.have(want(generation=3), images)
    await bench.storage.have(want(FIRST, generation=3, made=True), images)
    assert await bench.read(FIRST.name) == 0


async def test_an_image_that_is_not_what_it_claims_leaves_the_volume_as_it_was(bench: Bench) -> None:
    await bench.storage.have(want(FIRST), Images())
    assert await bench.write(FIRST.name, 1)
    await bench.storage.have(want(), Images())
    with pytest.raises(Refused):
        await bench.storage.have(want(source=Images(0x44).source, generation=2), Images())
    await bench.storage.have(want(FIRST), Images())
    assert await bench.read(FIRST.name) == 1


async def test_a_volume_grows_and_never_shrinks(bench: Bench) -> None:
    await bench.storage.have(want(FIRST), Images())
    assert await bench.write(FIRST.name, 1)
    await bench.storage.have(want(size=8 * MIB), Images())
    await bench.storage.have(want(SECOND, size=2 * MIB), Images())
    assert await bench.read(SECOND.name) == 1
    assert await bench.size(SECOND.name) in (8 * MIB, None)


async def test_a_snapshot_keeps_what_was_there_while_the_volume_is_written_on(bench: Bench) -> None:
    await bench.storage.have(want(FIRST), Images())
    client = await bench.connect(FIRST.name)
    assert await client.write(1)
    await bench.storage.have_snapshot(SNAPSHOT, VOLUME)
    assert await client.write(2)
    await bench.storage.have_snapshot(SNAPSHOT, VOLUME)
    copy = want(SECOND, volume=COPY, size=8 * MIB, source=OfSnapshot(SNAPSHOT))
    await bench.storage.have(copy, Images())
    assert await bench.read(SECOND.name) == 1
    assert await bench.read(FIRST.name) == 2
    await bench.storage.drop_snapshot(SNAPSHOT)
    await bench.storage.drop_snapshot(SNAPSHOT)
    assert await bench.read(SECOND.name) == 1
    await client.close()


async def test_a_volume_can_be_a_copy_of_one_that_is_in_use(bench: Bench) -> None:
    await bench.storage.have(want(FIRST), Images())
    assert await bench.write(FIRST.name, 2)
    await bench.storage.have(want(SECOND, volume=COPY, source=OfVolume(VOLUME)), Images())
    assert await bench.write(FIRST.name, 1)
    assert await bench.read(SECOND.name) == 2
    assert await bench.storage.exports(VOLUME) == (FIRST,)


async def test_what_is_dropped_is_served_to_nobody_and_gone(bench: Bench) -> None:
    await bench.storage.have(want(FIRST), Images())
    client = await bench.connect(FIRST.name)
    await bench.storage.drop(VOLUME)
    await bench.storage.drop(VOLUME)
    assert not await client.write(1)
    assert await bench.read(FIRST.name) is None
    with pytest.raises(Refused):
        await bench.storage.have_snapshot(SNAPSHOT, VOLUME)
    await client.close()


async def test_two_volumes_do_not_disturb_each_other(bench: Bench) -> None:
    first, second = want(FIRST), want(SECOND, volume=COPY)
    await asyncio.gather(bench.storage.have(first, Images()), bench.storage.have(second, Images()))
    assert await bench.write(FIRST.name, 1)
    await bench.storage.drop(COPY)
    assert await bench.read(FIRST.name) == 1


async def test_a_volume_that_was_lost_is_not_made_again_as_if_nothing_had_been_on_it(bench: Bench) -> None:
    with pytest.raises(Refused):
        await bench.storage.have(want(FIRST, made=True), Images())
    assert await bench.read(FIRST.name) is None
    assert await bench.storage.have(want(made=True), Images()) == ()
    await bench.storage.have(want(FIRST), Images())
    assert await bench.storage.have(want(FIRST, made=True), Images()) == (FIRST,)


async def test_a_volume_moves_from_one_host_to_another_and_the_former_is_cut_off_for_certain(bench: Bench) -> None:
    await bench.storage.have(want(FIRST), Images())
    old = await bench.connect(FIRST.name)
    assert await bench.storage.have(want(ELSEWHERE), Images()) == (ELSEWHERE,)
    assert await bench.write(ELSEWHERE.name, 2)
    assert not await old.write(1)
    assert await bench.read(FIRST.name) is None
    assert await bench.read(ELSEWHERE.name) == 2
    await bench.storage.have_snapshot(SNAPSHOT, VOLUME)
    assert await bench.storage.have(want(SECOND), Images()) == (SECOND,)
    assert await bench.read(SECOND.name) == 2
    assert await bench.read(ELSEWHERE.name) is None
    await old.close()


async def test_a_volume_is_never_served_to_two_hosts(bench: Bench) -> None:
    await bench.storage.have(want(FIRST), Images())
    with pytest.raises(Refused):
        await bench.storage.have(want(FIRST, ELSEWHERE), Images())
    assert await bench.storage.exports(VOLUME) == (FIRST,)
    assert await bench.read(ELSEWHERE.name) is None


async def test_what_is_lost_for_one_host_leaves_the_guests_of_another_alone(bench: Bench) -> None:
    await bench.storage.have(want(FIRST), Images())
    await bench.storage.have(want(ELSEWHERE, volume=COPY), Images())
    guest = await bench.connect(ELSEWHERE.name)
    await bench.lose_exports()
    assert await guest.write(1)
    assert (await bench.storage.exports(VOLUME), await bench.storage.exports(COPY)) == ((), (ELSEWHERE,))
    for again in (want(ELSEWHERE, volume=COPY, made=True), want(FIRST, made=True)):
        assert await bench.storage.have(again, Images()) == again.exports
    assert await guest.write(2)
    assert (await bench.read(FIRST.name), await bench.read(ELSEWHERE.name)) == (0, 2)
    await guest.close()
