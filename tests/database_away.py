"""A database that is away as long as a test says, or fails as often."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from renova.model.errors import DatabaseAway
from renova.store.database import Executor, Tx

T = TypeVar("T")


class Away:
    """Has transactions served by another executor, but while it is away."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._away = False

    def go(self, for_s: float | None = None) -> None:
        """Answer no more: for so many seconds, or until it comes back."""
        self._away = True
        if for_s is not None:
            asyncio.get_running_loop().call_later(for_s, self.come_back)

    def come_back(self) -> None:
        self._away = False

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        return await self._here().transact(fn)

    async def read(self, fn: Callable[[Tx], T]) -> T:
        return await self._here().read(fn)

    def close(self) -> None:
        self._executor.close()

    def _here(self) -> Executor:
        if self._away:
            raise DatabaseAway("the database could not commit", details="db.example refused")
        return self._executor


class Faulty:
    """Has transactions served by another executor, but raises these errors first, one a transaction."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.errors: list[Exception] = []

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        if self.errors:
            raise self.errors.pop(0)
        return await self._executor.transact(fn)

    async def read(self, fn: Callable[[Tx], T]) -> T:
        return await self._executor.read(fn)

    def close(self) -> None:
        self._executor.close()
