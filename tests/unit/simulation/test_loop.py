"""Virtual time: it jumps, it is the same in every run, and it says when nothing will ever happen."""

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from renova.simulation.loop import BEGINNING, Stuck, VirtualClock, run_virtual
from renova.simulation.processes import Process


def test_an_hour_passes_at_once() -> None:
    async def main() -> tuple[float, float]:
        clock = VirtualClock()
        await clock.sleep(3600)
        assert (clock.wall() - BEGINNING).total_seconds() == 3600
        return clock.monotonic(), clock.boottime()

    begun = time.monotonic()
    assert run_virtual(main()) == (3600.0, 3600.0)
    assert time.monotonic() - begun < 5


def test_timers_come_in_order_and_time_limits_hold() -> None:
    async def main() -> list[str]:
        log: list[str] = []

        async def at(seconds: float) -> None:
            await asyncio.sleep(seconds)
            log.append(f"{asyncio.get_running_loop().time():g}")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.gather(at(2), at(1), at(3))
        return log

    assert run_virtual(main()) == ["1", "2"]


def test_what_would_run_in_a_thread_runs_at_once() -> None:
    def fail() -> None:
        raise KeyError("x")

    async def main() -> int:
        with pytest.raises(KeyError):
            await asyncio.to_thread(fail)
        return await asyncio.to_thread(lambda: 7)

    assert run_virtual(main()) == 7


def test_a_deadlock_is_told_with_the_place_that_waits() -> None:
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.get_running_loop().create_task(wait_for_ever(), name="the-waiter")

    with pytest.raises(Stuck, match=r"nothing will ever happen(.|\n)*the-waiter: .*test_loop.py"):
        run_virtual(main())


def test_a_run_without_end_passes_its_limit() -> None:
    async def main() -> None:
        clock = VirtualClock()
        while True:
            await clock.sleep(1)

    with pytest.raises(Stuck, match="not done at 101"):
        run_virtual(main(), limit_s=100)


def test_going_round_in_circles_is_told() -> None:
    async def main() -> None:
        clock = VirtualClock()
        while True:
            await clock.sleep(0)

    with pytest.raises(Stuck, match="time stands still"):
        run_virtual(main())


def test_a_task_that_fails_unseen_fails_the_run() -> None:
    async def fail() -> None:
        raise ValueError("unseen")

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(fail())
        await asyncio.sleep(1)
        del task

    with pytest.raises(ValueError, match="unseen"):
        run_virtual(main())


def test_tasks_left_behind_are_ended() -> None:
    log: list[str] = []

    async def behind() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("ended")

    kept: list[asyncio.Task[None]] = []

    async def main() -> None:
        kept.append(asyncio.get_running_loop().create_task(behind()))
        await asyncio.sleep(1)

    run_virtual(main())
    assert log == ["ended"]


def test_what_they_begin_as_they_end_is_ended_too() -> None:
    log: list[str] = []
    kept: list[asyncio.Task[None]] = []

    async def wait(name: str, *successors: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            begin(*successors)
            log.append(name)

    def begin(*names: str) -> None:
        if names:
            kept.append(asyncio.get_running_loop().create_task(wait(*names)))

    async def main() -> None:
        begin("first", "second", "third")
        await asyncio.sleep(1)

    run_virtual(main())
    assert log == ["first", "second", "third"]
    assert all(task.cancelled() for task in kept)


def test_what_will_not_end_says_nothing_once_the_loop_is_closed() -> None:
    said: list[BaseException | None] = []

    async def stays() -> None:
        waiting = asyncio.get_running_loop().create_task(asyncio.Event().wait())
        try:
            while True:
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
        finally:
            waiting.cancel()  # needs a loop that is not closed

    async def main() -> None:
        kept.append(asyncio.get_running_loop().create_task(stays()))
        await asyncio.sleep(1)

    kept: list[asyncio.Task[None]] = []
    with pytest.raises(Stuck):
        run_virtual(main())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", lambda told: said.append(told.exc_value))
        kept.clear()
        gc.collect()
    assert said == []


def test_what_a_killed_process_read_of_is_collected_in_silence() -> None:
    said: list[BaseException | None] = []

    async def main() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue()

        async def pieces() -> AsyncIterator[int]:
            while True:
                yield await queue.get()  # closed while it waits, this calls whoever would have been woken

        async def read() -> None:
            async for _ in pieces():
                pass

        process = Process("controller1-1")
        process.spawn(read(), "reads")
        await asyncio.sleep(1)
        process.kill()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", lambda told: said.append(told.exc_value))
        run_virtual(main())
        gc.collect()
    assert said == []


def test_sets_of_tasks_have_the_same_order_in_every_run() -> None:
    async def main() -> list[int]:
        order: list[int] = []

        async def one(number: int) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                order.append(number)

        async def group_of_50() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    group.create_task(one(number))
                await asyncio.sleep(1)
                raise KeyError  # the group cancels its tasks in the order of a set

        with pytest.raises(ExceptionGroup):
            await group_of_50()
        return order

    assert run_virtual(main()) == run_virtual(main())
