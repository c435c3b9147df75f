"""Calls that block, kept out of the event loop; used by the drivers of this package."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(threads: Executor | None, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `call` in a thread of `threads` (None: the event loop's own) and return its result.

    A thread cannot be stopped. So when the caller is cancelled, this waits until the call has ended and only then
    lets the cancellation go on: whoever hears that a step has ended may trust that nothing of it acts any more.
    """
    running = asyncio.get_running_loop().run_in_executor(threads, lambda: call(*args, **kwargs))
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
