"""Calls that block, kept out of the event loop, and work that is never broken off; used by the drivers."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(threads: Executor | None, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `call` in a thread of `threads` (None: the event loop's own) and return its result.

    A thread cannot be stopped: so this goes `to_its_end`.
    """
    return await to_its_end(asyncio.get_running_loop().run_in_executor(threads, lambda: call(*args, **kwargs)))


async def to_its_end(work: Awaitable[T]) -> T:
    """Await the work, and return its result.

    When the caller is cancelled, this waits until the work has ended and only then lets the cancellation go on:
    whoever hears that a step has ended may trust that nothing of it acts any more.
    """
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                continue  # cancelled again: the reason to wait is the same
        if not running.cancelled():
            running.exception()  # told to nobody: the caller has gone
        raise
