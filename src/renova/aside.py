"""Calls that block, made in threads of their own: one that hangs holds up nobody else, nor the process's end."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from renova.model.errors import NotNow

T = TypeVar("T")

AT_ONCE = 64  # a rack's worth of silent hosts; what a larger outage adds waits for its turn


class Aside:
    """Makes calls in threads; a call that has not ended in time is left to itself, and what it says is not heard."""

    def __init__(self, threads: str = "power", at_once: int = AT_ONCE) -> None:
        self._threads = threads
        self._turns = asyncio.Semaphore(at_once)

    async def call(self, work: Callable[[], T], limit_s: float, what: str) -> T:
        """Return what the call returns, or raise what it raises; `NotNow` after so many seconds."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def tell(result: T | None, error: BaseException | None) -> None:
            if done.done():
                return  # nobody waits any more
            if error is None:
                done.set_result(result)  # type: ignore[arg-type]
            else:
                done.set_exception(error)

        def run() -> None:
            result, failure = None, None
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  (raised again where it is waited for)
                failure = error
            try:
                loop.call_soon_threadsafe(tell, result, failure)
            except RuntimeError:
                return  # the loop has ended meanwhile

        async with self._turns:
            threading.Thread(target=run, name=self._threads, daemon=True).start()
            try:
                async with asyncio.timeout(limit_s):
                    return await done
            except TimeoutError as error:
                raise NotNow(f"{what} has not answered within {limit_s:g} s") from error
