"""The writer's thread ends when it is told to, and not before, whatever a group came to."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from renova.model.errors import DatabaseAway
from renova.store.database import Tx
from renova.store.session import Session, Trouble
from renova.store.writer import Writer

LIMIT_S = 10.0


class InTheWay(Exception):
    """Another transaction was."""


class Breaking:
    """A session in which groups are in another's way, and the connection breaks with the first that is alone."""

    execute = demand = None

    def __init__(self, on_break: Callable[[], None]) -> None:
        self.members = 0
        self._on_break = on_break

    def begin(self) -> str:
        self.members = 0
        return "now"

    def mark(self) -> int:
        return 0

    def settle(self) -> None: ...

    def commit(self) -> None:
        if self.members > 1:
            raise InTheWay
        if self.members == 0:
            return
        self._on_break()
        raise ConnectionError("the connection broke")

    def rollback(self) -> None: ...

    def trouble(self, error: Exception) -> Trouble:
        return Trouble.AGAIN if isinstance(error, InTheWay) else Trouble.LOST

    def close(self) -> None: ...


class Unforeseen(Breaking):
    """A session that fails once in what has always worked."""

    def settle(self) -> None:
        self.settle = lambda: None  # type: ignore[method-assign]
        raise Strange("of what nobody has foreseen")

    def trouble(self, error: Exception) -> Trouble:
        raise error

    def commit(self) -> None: ...


class Strange(Exception):
    """What nobody has foreseen."""


async def test_who_comes_after_what_nobody_has_foreseen_is_answered() -> None:
    writer = Writer(cast(Session, Unforeseen(lambda: None)))
    with pytest.raises(DatabaseAway, match="nobody knows"):
        await asyncio.wait_for(writer.transact(lambda _tx: 1), LIMIT_S)
    assert await asyncio.wait_for(writer.transact(lambda _tx: 2), LIMIT_S) == 2
    writer.close()


async def test_told_to_end_while_a_group_is_tried_one_by_one_it_does() -> None:
    told = False

    def tell_to_end() -> None:
        nonlocal told
        if not told:
            told = True
            writer._jobs.put(None)  # what `close` does before it waits

    session = Breaking(tell_to_end)
    writer = Writer(cast(Session, session))

    def work(_tx: Tx) -> Any:
        session.members += 1

    go_on = threading.Event()
    before = asyncio.ensure_future(writer.transact(lambda _tx: go_on.wait(LIMIT_S)))
    asked = [asyncio.ensure_future(writer.transact(work)) for _ in range(3)]
    await asyncio.sleep(0)  # all three wait behind it, and are one group
    go_on.set()
    await before
    for outcome in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(outcome, DatabaseAway)
    writer._thread.join(LIMIT_S)
    assert told
    assert not writer._thread.is_alive()
