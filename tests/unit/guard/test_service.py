"""What the guard's own end of its channels promises."""

import asyncio
from collections.abc import AsyncIterator

import structlog

from renova.guard.page import MemoryPage
from renova.guard.service import Guard
from renova.model.chance import SeededChance
from renova.simulation.loop import VirtualClock, run_virtual
from renova.uplink.local import Held, decode_from_guard


class StoppedAgent:
    """An agent's channel of which nothing is taken until it goes on."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.heard: list[object] = []

    async def send(self, frame: bytes) -> None:
        await self.goes_on.wait()
        self.heard.append(decode_from_guard(frame))

    async def frames(self) -> AsyncIterator[bytes]:
        await asyncio.get_running_loop().create_future()
        yield b""

    async def close(self) -> None: ...


def test_an_agent_that_is_stopped_for_long_hears_the_newest_when_it_goes_on_and_nothing_gathers_meanwhile() -> None:
    async def main() -> None:
        agent = StoppedAgent()
        guard = Guard("host", MemoryPage(), VirtualClock(), SeededChance(1), [], boot="boot")
        serving = asyncio.ensure_future(guard.serve_agent(agent))
        await asyncio.sleep(1)
        before = len(asyncio.all_tasks())
        for epoch in range(1, 1000):
            guard.lease.enter(1, epoch)
            guard._changed()
            await asyncio.sleep(2)
        assert len(asyncio.all_tasks()) == before
        agent.goes_on.set()
        await asyncio.sleep(1)
        assert [message.epoch for message in agent.heard if isinstance(message, Held)] == [0, 999]
        serving.cancel()
        await asyncio.wait([serving])

    with structlog.testing.capture_logs():
        run_virtual(main(), limit_s=3000)
