"""A controller that stands still in a transaction keeps others from theirs for a moment only, whatever it has sent."""

import asyncio
import threading
import time

import pytest
from sqlalchemy import insert

from renova.model.errors import NotNow
from renova.store.database import Tx
from renova.store.postgresql import open_postgresql
from renova.store.steps import steps

LIMIT_S = 20.0  # as long as it stands still; the database's own limit is a tenth of that
NOTE = insert(steps)


def note(tx: Tx, operation: int, size: int) -> None:
    """Write what nobody waits for: `size` bytes."""
    tx.execute(NOTE, {"operation": operation, "place": 0, "step": "a", "result": b"x" * size, "undone": False})


@pytest.mark.parametrize(
    ("size", "times"), [(100, 5), (1_000, 12), (3_000, 3), (20_000, 1), (20_000, 3)], ids=lambda given: f"{given}"
)
async def test_others_go_on_although_a_controller_stands_still(postgresql_url: str, size: int, times: int) -> None:
    one, other = [await asyncio.to_thread(open_postgresql, postgresql_url) for _ in range(2)]
    stands, goes_on = threading.Event(), threading.Event()

    def work(tx: Tx) -> None:
        for nth in range(times):
            note(tx, 100 + nth, size)
        stands.set()
        goes_on.wait(LIMIT_S)

    try:
        for nth in range(2):  # from its second time on a statement is kept, and sent ahead
            await one.transact(lambda tx, nth=nth: note(tx, nth, 1))  # type: ignore[misc]
        standing = asyncio.ensure_future(one.transact(work))
        await asyncio.to_thread(stands.wait, LIMIT_S)
        began = time.monotonic()
        while True:
            try:
                await other.transact(lambda tx: note(tx, 99, 1))
                break
            except NotNow:
                assert time.monotonic() - began < LIMIT_S / 2, "nobody else can write"
        goes_on.set()
        await standing  # it is told anew
        written = await other.read(lambda tx: tx.execute(steps.select()).all())
        assert sorted(row.operation for row in written) == [0, 1, 99, *range(100, 100 + times)]
    finally:
        goes_on.set()
        await asyncio.to_thread(one.close)
        await asyncio.to_thread(other.close)
