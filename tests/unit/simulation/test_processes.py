"""Processes that are frozen or killed at any await; the others, and the world, go on."""

import asyncio

import pytest

from renova.simulation.channel import Line
from renova.simulation.loop import Stuck, run_virtual
from renova.simulation.processes import Process, current


async def count(log: list[str], name: str, seconds: float = 1.0) -> None:
    try:
        for number in range(5):
            await asyncio.sleep(seconds)
            log.append(f"{name}{number} at {asyncio.get_running_loop().time():g}")
    finally:
        log.append(f"{name} ends")


def test_a_frozen_process_does_nothing_and_then_all_at_once() -> None:
    async def main() -> list[str]:
        log: list[str] = []
        frozen, other = Process("frozen"), Process("other")
        for name in ("a", "b"):
            frozen.spawn(count(log, name), name)
        other.spawn(count(log, "c", 2.0), "c")
        await asyncio.sleep(1.5)
        frozen.freeze()
        await asyncio.sleep(3)
        assert frozen.frozen
        frozen.thaw()
        await asyncio.sleep(0.75)
        return log

    assert run_virtual(main())[:6] == ["a0 at 1", "b0 at 1", "c0 at 2", "c1 at 4", "a1 at 4.5", "b1 at 4.5"]


def test_each_freeze_needs_its_thaw() -> None:
    async def main() -> None:
        process, log = Process("p"), list[str]()
        process.spawn(count(log, "a"), "a")
        process.freeze()
        process.freeze()
        process.thaw()
        await asyncio.sleep(3)
        assert log == []
        process.thaw()
        await asyncio.sleep(0.5)
        assert log == []  # its sleep had not even begun
        await asyncio.sleep(1)
        assert log == ["a0 at 4"]

    run_virtual(main())


def test_a_killed_process_cleans_nothing_up() -> None:
    log: list[str] = []

    async def generate() -> None:
        async def numbers():  # type: ignore[no-untyped-def]
            try:
                while True:
                    await asyncio.sleep(1)
                    yield 1
            finally:
                log.append("generator ends")

        async for _ in numbers():  # type: ignore[no-untyped-call]
            log.append("number")

    async def main() -> None:
        process = Process("p")
        async with asyncio.timeout(10):
            process.spawn(count(log, "a"), "a")
            process.spawn(generate(), "generate")
            process.spawn(parent(), "parent")
            await asyncio.sleep(2.5)
            ended: list[str] = []
            process.at_end.append(lambda: ended.append("killed"))
            process.kill()
            process.kill()
            await asyncio.sleep(5)
            assert ended == ["killed"]
            assert log == ["child of p", "a0 at 1", "number", "a1 at 2", "number"]
            log.clear()
            log.append("over")

    async def parent() -> None:
        async def child() -> None:
            process = current()
            log.append(f"child of {process and process.name}")
            await asyncio.Event().wait()

        async with asyncio.TaskGroup() as group:
            group.create_task(child())

    run_virtual(main())
    assert log[0] == "over"


def test_whoever_awaits_a_killed_process_waits_for_ever() -> None:
    async def main() -> None:
        process = Process("p")
        task = process.spawn(asyncio.sleep(1), "sleeps")
        process.kill()
        await task

    with pytest.raises(Stuck):
        run_virtual(main())


def test_one_that_kills_itself_comes_to_its_next_await_only() -> None:
    async def main() -> list[str]:
        process, log = Process("p"), list[str]()

        async def die() -> None:
            process.kill()
            log.append("said")
            await asyncio.sleep(0)
            log.append("never")

        process.spawn(die(), "dies")
        await asyncio.sleep(1)
        return log

    assert run_virtual(main()) == ["said"]


def test_what_was_sent_arrives_though_its_sender_be_killed() -> None:
    async def main() -> list[bytes]:
        heard: list[bytes] = []

        async def accept(channel):  # type: ignore[no-untyped-def]
            async for frame in channel.frames():
                heard.append(frame)

        server, client = Process("server"), Process("client")
        line = Line(accept, latency_s=0.5, listener=lambda: server)

        async def call() -> None:
            channel = await line.dial()
            await channel.send(b"last words")
            await asyncio.Event().wait()

        client.spawn(call(), "calls")
        await asyncio.sleep(0.1)
        client.kill()
        await asyncio.sleep(1)
        return heard

    assert run_virtual(main()) == [b"last words"]


def test_a_run_ends_though_processes_are_frozen() -> None:
    log: list[str] = []

    async def main() -> None:
        process = Process("p")
        process.spawn(count(log, "a"), "a")
        await asyncio.sleep(0.5)
        process.freeze()

    run_virtual(main())
    assert log == ["a ends"]
