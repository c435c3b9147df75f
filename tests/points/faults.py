"""What can go wrong at a point, and where it can."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from renova.model.errors import NotNow, Refused
from renova.operations.clear_away import CLEAR_AWAY
from renova.store import operations
from renova.store.database import Tx
from tests.points.cloud import ARRIVED_S, LATE_S, LOOK_S, TappedCloud
from tests.points.taps import Passing, Point, Seam

Do = Callable[[TappedCloud, Passing], Awaitable[Any]]
WRITES = (Seam.TRANSACTION, Seam.JOURNAL, Seam.DRIVER, Seam.SERVICE)


@dataclass(frozen=True)
class Fault:
    """A kind of fault. `final`: the operation may fail of it; else it ends as if nothing had been."""

    name: str
    seams: tuple[Seam, ...]
    do: Do
    final: bool = False
    not_to: tuple[str, ...] = ()  # what it is not done to

    def fits(self, point: Point) -> bool:
        return point.seam in self.seams and point.what not in self.not_to


async def kill_before(cloud: TappedCloud, passing: Passing) -> Any:
    return await cloud.die(passing.point.process)


async def kill_after(cloud: TappedCloud, passing: Passing) -> Any:
    await passing.call()
    if passing.point.seam is Seam.SEND:
        await cloud.clock.sleep(ARRIVED_S)
    return await cloud.die(passing.point.process)


async def not_now(_cloud: TappedCloud, _passing: Passing) -> Any:
    raise NotNow("away for a moment (a planted fault)")


async def answer_lost(_cloud: TappedCloud, passing: Passing) -> Any:
    if passing.point.seam is not Seam.TRANSACTION:
        await passing.call()
        raise NotNow("done, but nobody heard of it (a planted fault)")

    def unheard(tx: Tx) -> None:
        passing.subject(tx)
        tx.afterwards.clear()
        tx.then(tx.undone)  # for all that anybody knows

    await passing.part.transact(unheard)
    raise NotNow("the connection ended during the commit, whose outcome is unknown (a planted fault)")


class _Again(Exception):
    pass


async def twice(_cloud: TappedCloud, passing: Passing) -> Any:
    """Run the transaction's function twice, as where the first could not be serialised; a message arrives twice."""
    if passing.point.seam is Seam.TRANSACTION:

        def first(tx: Tx) -> None:
            passing.subject(tx)
            raise _Again

        try:
            await passing.part.transact(first)
        except _Again:
            pass
        return await passing.call()
    await passing.call()
    return await passing.call()


async def late(cloud: TappedCloud, passing: Passing) -> Any:
    """Hold it up for longer than any lease: with a transaction the whole database, with a message its connection."""
    if passing.point.seam is Seam.SEND:
        cloud.hold_back(passing)
        return None
    if passing.point.seam is Seam.TRANSACTION:
        over = asyncio.get_running_loop().create_future()
        key = (passing.point.process, Seam.TRANSACTION)

        async def wait() -> None:
            await asyncio.shield(over)

        cloud.taps.gates[key] = wait
        await cloud.clock.sleep(LATE_S)
        del cloud.taps.gates[key]
        over.set_result(None)
        return await passing.call()
    await cloud.clock.sleep(LATE_S)
    return await passing.call()


async def frozen_before(cloud: TappedCloud, passing: Passing) -> Any:
    """Stop the process for longer than any lease; then it goes on where it stood."""
    cloud.freeze(passing.point.process)
    await asyncio.sleep(0)  # from which it does not come back until its thaw
    return await passing.call()


async def frozen_after(cloud: TappedCloud, passing: Passing) -> Any:
    done = await passing.call()
    cloud.freeze(passing.point.process)
    await asyncio.sleep(0)
    return done


async def away(cloud: TappedCloud, passing: Passing) -> Any:
    """Have the database refuse everything for longer than any lease."""
    key = (passing.point.process, Seam.TRANSACTION)

    async def refuse() -> None:
        raise NotNow("the database is away (a planted fault)")

    cloud.taps.gates[key] = refuse

    async def come_back() -> None:
        del cloud.taps.gates[key]
        cloud.falling -= 1

    cloud.falling += 1
    cloud.outlive(LATE_S, come_back())
    await refuse()


async def cut_before(_cloud: TappedCloud, passing: Passing) -> Any:
    """End the connection, and lose the message with it."""
    passing.part.line.reset()
    return await passing.call()


async def cut_after(cloud: TappedCloud, passing: Passing) -> Any:
    """End the connection when the message has arrived."""
    await passing.call()
    await cloud.clock.sleep(ARRIVED_S)
    passing.part.line.reset()


async def refused(_cloud: TappedCloud, _passing: Passing) -> Any:
    raise Refused("never (a planted fault)")


async def refusing(cloud: TappedCloud, passing: Passing) -> Any:
    """Refuse it and every such call after it, until the operation has ended; for a while where there is none."""
    call = passing.point[:3]
    cloud.taps.refused.add(call)

    async def relent() -> None:
        while await cloud.database.read(is_busy):
            await cloud.clock.sleep(LOOK_S)
        cloud.taps.refused.discard(call)

    cloud.outlive(LATE_S, relent())
    raise Refused("never (a planted fault)")


def is_busy(tx: Tx) -> bool:
    """Say whether an operation is under way; what is cleared away behind one may itself wait for who refuses."""
    return any(held.story != CLEAR_AWAY.name for held in operations.unfinished(tx))


async def broken(_cloud: TappedCloud, _passing: Passing) -> Any:
    raise RuntimeError("unheard of (a planted fault)")


KILLS = (
    Fault("kill-before", (*WRITES, Seam.SEND, Seam.RECEIVE), kill_before),
    Fault("kill-after", (*WRITES, Seam.SEND), kill_after),
)
FREEZES = (
    Fault("frozen-before", (*WRITES, Seam.SEND, Seam.RECEIVE), frozen_before),
    Fault("frozen-after", (*WRITES, Seam.SEND), frozen_after),
)
OTHERS = (
    Fault("not-now", WRITES, not_now),
    Fault("answer-lost", WRITES, answer_lost),
    # TCP delivers once: pieces of an image rely on it, what is commanded does not.
    Fault("twice", (Seam.TRANSACTION, Seam.SEND), twice, not_to=("ImageBytes",)),
    Fault("late", (*WRITES, Seam.SEND), late),
    Fault("away", (Seam.TRANSACTION,), away),
    Fault("cut-before", (Seam.SEND,), cut_before),
    Fault("cut-after", (Seam.SEND,), cut_after),
    Fault("refused", (Seam.DRIVER, Seam.SERVICE), refused, final=True),
    Fault("broken", (Seam.DRIVER, Seam.SERVICE), broken, final=True),
    Fault("refusing", (Seam.DRIVER, Seam.SERVICE), refusing, final=True),
)
EVERY = {fault.name: fault for fault in (*KILLS, *FREEZES, *OTHERS)}
