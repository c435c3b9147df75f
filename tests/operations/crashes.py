"""Killing a process at its n-th durable write or call, once, and starting it again a moment later."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from renova.simulation.cloud import SimulatedCloud
from renova.simulation.processes import outside
from renova.store.database import Executor, Tx

T = TypeVar("T")

DOWN_S = 0.5  # virtual seconds for which the killed process is gone


class Fuse:
    """Counts the points that are passed, and kills at the n-th: before it happens, or after."""

    def __init__(self, kill: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._kill = kill
        self.armed = False
        self.passed = 0
        self.blown = False
        self._at: int | None = None
        self._before = True
        self._killing: asyncio.Task[None] | None = None

    def arm(self, at: int | None, *, before: bool) -> None:
        """Count from now on; `at` None only counts."""
        self.armed, self.passed, self._at, self._before = True, 0, at, before

    async def around(self, call: Callable[[], Awaitable[T]]) -> T:
        if not self.armed:
            return await call()
        self.passed += 1
        if self.blown or self.passed != self._at:
            return await call()
        self.blown = True
        if not self._before:
            await call()
        never = asyncio.get_running_loop().create_future()
        self._killing = asyncio.get_running_loop().create_task(self._kill(), context=outside())
        # Whoever called dies with the process: everybody else is cancelled first, so that nobody sees this call end.
        asyncio.get_running_loop().call_later(DOWN_S / 2, never.cancel)
        await never
        raise AssertionError("unreachable")


class FusedExecutor:
    """A database whose transactions are the points."""

    def __init__(self, executor: Executor, fuse: Fuse) -> None:
        self._executor = executor
        self._fuse = fuse

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        return await self._fuse.around(lambda: self._executor.transact(fn))

    async def read(self, fn: Callable[[Tx], T]) -> T:
        return await self._executor.read(fn)

    def close(self) -> None:
        self._executor.close()


def controller_fuse(cloud: SimulatedCloud) -> Fuse:
    """Have the controller die at a transaction; must be called before the cloud is up."""

    async def kill() -> None:
        await cloud.kill_controller()
        await cloud.clock.sleep(DOWN_S)
        await cloud.start_controller()

    fuse = Fuse(kill)
    cloud.database._executor = FusedExecutor(cloud.database._executor, fuse)
    return fuse
