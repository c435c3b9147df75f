"""Heartbeats on storage: what one host leaves another reads, numbers rise, and a storage that hangs holds nobody up."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from renova.agent.heart import Heartbeat
from renova.drivers.heartbeat import Heartbeats
from renova.drivers.heartbeat.files import DIRECTORY, LIMIT_S, FileHeartbeats
from renova.drivers.heartbeat.simulated import SimulatedHeartbeats
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.model.clock import SystemClock
from renova.model.errors import NotNow
from renova.model.ids import HostId
from renova.model.sighting import Heart

A, B = HostId("00000000-0000-4000-8000-00000000000a"), HostId("00000000-0000-4000-8000-00000000000b")

OfHost = Callable[[HostId], Heartbeats]


@pytest.fixture(params=["files", "simulated"])
def on_storage(request: pytest.FixtureRequest, tmp_path: Path) -> OfHost:
    """Give each host's way to one storage."""
    if request.param == "files":
        return lambda host: FileHeartbeats(tmp_path / "instances", host)
    storage = SimulatedStorage("shared")
    return lambda host: SimulatedHeartbeats(storage, host)


async def test_what_one_host_leaves_another_reads(on_storage: OfHost) -> None:
    assert await on_storage(B).read([A]) == {}, "it never left any"
    await on_storage(A).beat()
    assert await on_storage(B).read([A, B]) == {A: 1}
    await on_storage(A).beat()  # by another run of its agent
    await on_storage(B).beat()
    assert await on_storage(B).read([A, B]) == {A: 2, B: 1}


async def test_a_host_that_lives_is_heard_and_one_that_has_died_is_not(on_storage: OfHost) -> None:
    clock = SystemClock()
    living = asyncio.create_task(Heartbeat(on_storage(A), clock).serve())
    await on_storage(B).beat()
    listener = Heartbeat(on_storage(HostId("00000000-0000-4000-8000-00000000000c")), clock)
    async with asyncio.timeout(60):
        while A not in await on_storage(B).read([A]):
            await clock.sleep(0.01)
        hearts = {heart.host: heart for heart in await listener.listen([A, B])}
    assert hearts[A].beats
    assert not hearts[B].beats
    living.cancel()
    assert not (await listener.listen([A]))[0].beats


@pytest.mark.parametrize(("first", "second", "beats"), [(1, 2, True), (2, 2, False), (2, 1, False)])
def test_only_a_number_that_has_risen_is_a_beat(first: int, second: int, beats: bool) -> None:
    """One that has fallen is a write of before, come late, or a storage that was set back."""
    assert Heart(A, first, second).beats is beats


async def test_what_is_no_heartbeat_counts_for_none(tmp_path: Path) -> None:
    directory = tmp_path / DIRECTORY
    directory.mkdir()
    texts = (b"", b"\0" * 16, b"\xff\xfe 12", b"words and words", b"-4\n", "\u0664\u0662".encode())
    for number, text in enumerate(texts):
        (directory / f"{number}").write_bytes(text)
    assert await FileHeartbeats(tmp_path, A).read([HostId(f"{number}") for number in range(len(texts))]) == {}


async def test_a_storage_that_hangs_is_asked_no_more_until_it_answers(tmp_path: Path) -> None:
    """A pipe that nobody writes to stands for it: to open it hangs, as in the kernel."""
    (tmp_path / DIRECTORY).mkdir()
    pipe = tmp_path / DIRECTORY / A
    os.mkfifo(pipe)
    hanging = FileHeartbeats(tmp_path, B)
    with pytest.raises(NotNow, match=f"has not answered within {LIMIT_S:g} s"):
        await hanging.read([A])
    with pytest.raises(NotNow, match="has not answered the call before"):
        await hanging.read([A])
    await hanging.beat()  # whoever writes is not held up by who looks
    with pipe.open("wb"):
        pass
    pipe.unlink()
    async with asyncio.timeout(60):
        while True:
            try:
                assert await hanging.read([A, B]) == {B: 1}
                break
            except NotNow:
                await SystemClock().sleep(0.01)
