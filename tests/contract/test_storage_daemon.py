"""The storage daemon lives no longer than whoever serves by it, however that ends."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from renova.drivers.volume.daemon import Daemon, Door
from renova.drivers.volume.nbd import NbdStorage
from renova.lab.processes import wait_until
from renova.model.clock import SystemClock
from renova.model.errors import NotNow
from renova.model.ids import HostId
from renova.model.storage import Export, OfVolume, WantedVolume
from tests.contract.test_storage import (
    COPY,
    ELSEWHERE,
    FIRST,
    HOST,
    OTHER_HOST,
    PORT,
    SNAPSHOT,
    VOLUME,
    Images,
    free_port,
    want,
)

pytestmark = pytest.mark.skipif(which("qemu-storage-daemon") is None, reason="qemu-storage-daemon is not installed")

SERVING = """
import asyncio, sys
from pathlib import Path
from renova.drivers.volume.daemon import Daemon, Door
from renova.model.ids import HostId

async def main() -> None:
    door = Door("127.0.0.1", int(sys.argv[2]), HostId("host"), None)
    await Daemon(Path(sys.argv[1]), "daemon", door, lambda: None).start()
    print("serves", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def door(port: int) -> Door:
    return Door("127.0.0.1", port, HostId("host"), None)


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


async def test_it_is_killed_with_an_agent_that_is_killed(tmp_path: Path) -> None:
    port = free_port()
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVING, str(tmp_path), str(port), stdout=asyncio.subprocess.PIPE
    )
    assert agent.stdout is not None
    assert await agent.stdout.readline() == b"serves\n"
    assert answers(port)
    agent.kill()
    await agent.wait()
    await asyncio.to_thread(wait_until, lambda: not answers(port), 10, "the daemon outlives its agent")


async def test_a_new_one_ends_the_one_that_was_left(tmp_path: Path) -> None:
    port = free_port()
    lost: list[str] = []
    left = Daemon(tmp_path, "daemon", door(port), lambda: lost.append("left"))
    await left.start()
    former = int((tmp_path / "daemon.pid").read_text())
    new = Daemon(tmp_path, "daemon", door(port), lambda: lost.append("new"))
    await new.start()
    assert int((tmp_path / "daemon.pid").read_text()) != former
    assert await new.exports() == {}
    await left.stop()
    await new.stop()
    assert not answers(port)
    assert "new" not in lost, "it was told to end"


async def test_what_keeps_it_from_starting_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        daemon = Daemon(tmp_path, "daemon", door(taken.getsockname()[1]), lambda: None)
        with pytest.raises(NotNow, match="Address already in use"):
            await daemon.start()
    await daemon.start()  # the port is free now
    await daemon.stop()


async def test_it_says_when_it_ended_by_itself(tmp_path: Path) -> None:
    ended = asyncio.Event()
    daemon = Daemon(tmp_path, "daemon", door(free_port()), ended.set)
    await daemon.start()
    os.kill(int((tmp_path / "daemon.pid").read_text()), signal.SIGKILL)
    async with asyncio.timeout(60):
        await ended.wait()
    await daemon.stop()


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[NbdStorage]:
    made = NbdStorage(tmp_path, SystemClock(), address="127.0.0.1", ports=range(PORT, PORT + 1), tls=None)
    await made.open(lambda: None)
    yield made
    await made.close()


async def test_a_hosts_port_answers_for_as_long_as_something_is_served_to_that_host(storage: NbdStorage) -> None:
    assert not answers(PORT)
    await storage.have(want(FIRST), Images())
    await storage.have(want(Export("another", HOST, PORT), volume=COPY), Images())
    await storage.drop(VOLUME)
    assert answers(PORT)
    await storage.have(want(volume=COPY), Images())
    assert not answers(PORT)
    await storage.have(want(Export("next", OTHER_HOST, PORT), volume=COPY), Images())
    assert answers(PORT), "the port is free for another host"


async def test_two_hosts_never_share_a_port(storage: NbdStorage) -> None:
    await storage.have(want(FIRST), Images())
    with pytest.raises(NotNow, match="still serves another host") as told:
        await storage.have(want(Export("another", OTHER_HOST, PORT), volume=COPY), Images())
    assert told.value.details == f"{PORT}: {HOST}"
    assert await storage.exports(VOLUME) == (FIRST,)


async def test_a_port_that_another_program_has_is_told_and_tried_again(storage: NbdStorage) -> None:
    with socket.create_server(("127.0.0.1", PORT)), pytest.raises(NotNow, match="Address already in use"):
        await storage.have(want(FIRST), Images())
    assert await storage.have(want(FIRST), Images()) == (FIRST,)


@pytest.mark.parametrize("of", ["snapshot", "volume"])
async def test_a_copy_does_not_keep_another_host_waiting(
    storage: NbdStorage, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    started, execute = asyncio.Event(), Daemon.execute

    async def slowly(daemon: Daemon, command: str, **arguments: Any) -> Any:
        if command == "blockdev-backup":
            arguments["speed"] = 1  # byte a second: never done
            started.set()
        return await execute(daemon, command, **arguments)

    await storage.have(want(FIRST, source=Images().source), Images())
    with monkeypatch.context() as slow:
        slow.setattr(Daemon, "execute", slowly)
        copied: WantedVolume = want(volume=COPY, source=OfVolume(VOLUME))
        work = storage.have_snapshot(SNAPSHOT, VOLUME) if of == "snapshot" else storage.have(copied, Images())
        copying = asyncio.ensure_future(work)
        async with asyncio.timeout(60):
            await started.wait()
            assert await storage.have(want(ELSEWHERE), Images()) == (ELSEWHERE,)
        with pytest.raises(NotNow, match="another host"):
            await copying
    await (storage.have_snapshot(SNAPSHOT, VOLUME) if of == "snapshot" else storage.have(copied, Images()))
    assert await storage.exports(VOLUME) == (ELSEWHERE,)


async def test_whoever_opens_the_storage_ends_all_daemons_that_were_left(storage: NbdStorage, tmp_path: Path) -> None:
    await storage.have(want(FIRST), Images())
    await storage.have(want(ELSEWHERE, volume=COPY), Images())
    new = NbdStorage(tmp_path, SystemClock(), address="127.0.0.1", ports=range(PORT, PORT + 1), tls=None)
    await new.open(lambda: None)
    assert not answers(PORT)
    assert not answers(ELSEWHERE.port)
    await new.close()
