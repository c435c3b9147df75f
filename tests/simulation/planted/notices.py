"""Bugs of how events are told to others."""

import asyncio
from typing import Any

from renova.partners.notifications.outbox import Outbox
from renova.store import notices
from tests.simulation.planted.bugs import Patch, bug

TOLD = "controller killed, controller frozen, killed at a crash point, receiver"


@bug("f", "an event leaves the outbox before its receiver has it", "told", TOLD, told=True)
def notice_lost(patch: Patch) -> None:
    deliver = Outbox._deliver

    async def early(self: Outbox, batch: list[Any]) -> list[Any]:
        await self._database.transact(lambda tx: notices.remove(tx, batch))
        return await deliver(self, batch)

    patch.setattr(Outbox, "_deliver", early)


@bug("g", "an event is written after the change that it tells of", "told", TOLD, told=True)
def notice_late(patch: Patch) -> None:
    put = Outbox.put
    writing: set[asyncio.Task[None]] = set()

    def late(self: Outbox, tx: Any, server: Any, kind: str, data: bytes) -> None:
        def write() -> None:
            work = self._database.transact(lambda tx: put(self, tx, server, kind, data))
            task = asyncio.get_running_loop().create_task(work)
            writing.add(task)
            task.add_done_callback(writing.discard)

        tx.then(write)

    patch.setattr(Outbox, "put", late)
