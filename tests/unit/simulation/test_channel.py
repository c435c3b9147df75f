"""Simulated connections: in order, held by cuts, lost only with the connection."""

import asyncio

import pytest

from renova.model.channel import Channel, Closed
from renova.model.errors import NotNow
from renova.simulation.channel import Line, pair
from renova.simulation.loop import run_virtual


class Listener:
    """The controller's end of a line: keeps what it heard, and the ends that are open."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.open: list[Channel] = []

    async def accept(self, channel: Channel) -> None:
        self.open.append(channel)
        async for frame in channel.frames():
            self.heard.append(frame)
        self.open.remove(channel)


def test_frames_arrive_in_order_until_the_end() -> None:
    async def main() -> None:
        left, right = pair()
        for number in range(5):
            await left.send(b"%d" % number)
        await left.close()
        assert [frame async for frame in right.frames()] == [b"0", b"1", b"2", b"3", b"4"]
        with pytest.raises(Closed):
            await right.send(b"late")
        with pytest.raises(Closed):
            await left.send(b"late")

    run_virtual(main())


@pytest.mark.parametrize("latency", [0.0, 0.3])
def test_a_short_cut_delays_and_a_long_one_ends_the_connection(latency: float) -> None:
    async def main() -> None:
        listener = Listener()
        line = Line(listener.accept, latency_s=latency)
        host = await line.dial()
        line.cut(to_host=False)
        await host.send(b"one")
        await asyncio.sleep(5)
        assert listener.heard == []
        line.heal()
        await asyncio.sleep(1)
        assert listener.heard == [b"one"]
        line.cut(to_controller=False)
        await host.send(b"two")
        await asyncio.sleep(20)
        assert listener.heard == [b"one", b"two"]
        assert listener.open == []
        with pytest.raises(Closed):
            await host.send(b"three")
        with pytest.raises(NotNow):
            await line.dial()
        line.heal()
        await (await line.dial()).send(b"four")
        await asyncio.sleep(1)
        assert listener.heard == [b"one", b"two", b"four"]

    run_virtual(main())


def test_a_reset_loses_what_was_on_its_way() -> None:
    async def main() -> None:
        listener = Listener()
        line = Line(listener.accept, latency_s=1)
        host = await line.dial()
        await host.send(b"lost")
        line.reset()
        await asyncio.sleep(5)
        assert (listener.heard, listener.open, line.links) == ([], [], [])
        assert [frame async for frame in host.frames()] == []

    run_virtual(main())


def test_dropped_frames_leave_the_others_in_order() -> None:
    async def main() -> None:
        listener = Listener()
        line = Line(listener.accept)
        line.to_controller.drop = lambda frame: frame == b"b"
        host = await line.dial()
        for frame in (b"a", b"b", b"c"):
            await host.send(frame)
        await asyncio.sleep(1)
        assert listener.heard == [b"a", b"c"]

    run_virtual(main())


def test_a_reader_that_waits_hears_of_the_end() -> None:
    async def main() -> list[bytes]:
        left, right = pair()

        async def read() -> list[bytes]:
            return [frame async for frame in right.frames()]

        reading = asyncio.get_running_loop().create_task(read())
        await asyncio.sleep(1)
        await left.send(b"x")
        await asyncio.sleep(1)
        await left.close()
        return await reading

    assert run_virtual(main()) == [b"x"]
