"""The storage daemon lives no longer than whoever serves by it, however that ends."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from shutil import which

import pytest

from renova.drivers.volume.daemon import Daemon
from renova.lab.processes import wait_until
from renova.model.errors import BadSetup

pytestmark = pytest.mark.skipif(which("qemu-storage-daemon") is None, reason="qemu-storage-daemon is not installed")

SERVING = """
import asyncio, sys
from pathlib import Path
from renova.drivers.volume.daemon import Daemon

async def main() -> None:
    await Daemon(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2]), None, lambda: None).start()
    print("serves", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


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
    left = Daemon(tmp_path, "127.0.0.1", port, None, lambda: lost.append("left"))
    await left.start()
    former = int((tmp_path / "qemu-storage-daemon.pid").read_text())
    new = Daemon(tmp_path, "127.0.0.1", port, None, lambda: lost.append("new"))
    await new.start()
    assert int((tmp_path / "qemu-storage-daemon.pid").read_text()) != former
    assert await new.exports() == {}
    await left.stop()
    await new.stop()
    assert not answers(port)
    assert "new" not in lost, "it was told to end"


async def test_what_keeps_it_from_starting_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        daemon = Daemon(tmp_path, "127.0.0.1", taken.getsockname()[1], None, lambda: None)
        with pytest.raises(BadSetup, match="Address already in use"):
            await daemon.start()


async def test_it_says_when_it_ended_by_itself(tmp_path: Path) -> None:
    ended = asyncio.Event()
    daemon = Daemon(tmp_path, "127.0.0.1", free_port(), None, ended.set)
    await daemon.start()
    os.kill(int((tmp_path / "qemu-storage-daemon.pid").read_text()), signal.SIGKILL)
    async with asyncio.timeout(10):
        await ended.wait()
    await daemon.stop()
