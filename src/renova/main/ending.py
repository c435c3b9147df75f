"""How a process of ours ends: by itself, or when it is told to."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from renova.model.errors import BadSetup, CloudError, whole

log = structlog.get_logger()


def run_to_status(serve: Callable[[], None]) -> None:
    """Run a process of a host. What ends it on purpose becomes one sentence, and its exit status.

    2: somebody has to change a setting first, and it need not be started again before; 1: it may go better next time.
    """
    try:
        serve()
    except CloudError as error:
        print(whole(error), file=sys.stderr)
        raise SystemExit(2 if isinstance(error, BadSetup) else 1) from None


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
