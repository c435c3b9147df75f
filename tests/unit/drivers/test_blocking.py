"""Threads behind a cancelled caller."""

import asyncio
import threading

import pytest

from renova.drivers.blocking import in_thread


async def test_a_cancelled_caller_hears_of_it_only_when_the_call_has_ended() -> None:
    began, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def call() -> None:
        began.set()
        assert may_end.wait(10)
        ended.set()

    caller = asyncio.create_task(in_thread(None, call))
    await asyncio.to_thread(began.wait, 10)
    for _ in range(2):
        caller.cancel()
        done, _ = await asyncio.wait([caller], timeout=0.05)
        assert not done
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()


async def test_errors_and_results_come_through() -> None:
    assert await in_thread(None, int, "12") == 12
    with pytest.raises(ValueError, match="invalid literal"):
        await in_thread(None, int, "x")
