"""How a process of ours ends: by itself, or when it is told to."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger()


async def until_told(work: Coroutine[Any, Any, None]) -> None:
    """Run until the work ends by itself, or the process is told to end."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    running = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(told.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        waiting.cancel()
        running.result()
        return
    log.info("told to end")
    running.cancel()
    await asyncio.wait({running})
