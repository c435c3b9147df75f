"""The witness of a simulated cloud: storage that outlives everybody, and each machine's way to it.

A machine may be cut off from it, as by storage that hangs: what it had asked for then happens once it is reached again,
whether anybody still waits for that or not.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from renova.model.errors import NotNow
from renova.simulation.processes import outside
from renova.witness import LeaseName, Shown

T = TypeVar("T")

LATENCY_S = 0.001


class SimulatedWitness:
    """What is in the storage, and who does not reach it."""

    def __init__(self) -> None:
        self.files: dict[LeaseName, Shown] = {}
        self.cut: set[str] = set()  # machines
        self.slow_s = 0.0  # by how much longer each call takes, there and back
        self.struck: Callable[[], None] = lambda: None  # told of each call that is held up
        self.read_at: dict[str, float] = {}  # by machine: when it last read, in truth, of a lease that is not revoked
        self.held: dict[str, list[Callable[[], None]]] = {}  # by machine: what has not reached the storage yet

    def heal(self, machine: str) -> None:
        """Have the machine reach it again, with all that it had asked for."""
        self.cut.discard(machine)
        for reach in self.held.pop(machine, []):
            reach()

    def seen_from(self, machine: str, limit_s: float | None = None) -> "WitnessFrom":
        return WitnessFrom(self, machine, limit_s)


class WitnessFrom:
    """The witness as a machine reaches it, which waits for an answer for `limit_s`."""

    def __init__(self, witness: SimulatedWitness, machine: str, limit_s: float | None) -> None:
        self._witness = witness
        self._machine = machine
        self._limit_s = limit_s

    async def have(self, lease: LeaseName, word: str) -> Shown:
        return await self._ask(lambda: self._witness.files.setdefault(lease, Shown(word, revoked=False)))

    async def read(self, lease: LeaseName) -> Shown:
        def look() -> Shown:
            shown = self._file(lease)
            if not shown.revoked:
                self._witness.read_at[self._machine] = asyncio.get_running_loop().time()
            return shown

        return await self._ask(look)

    async def revoke(self, lease: LeaseName, word: str) -> None:
        def write() -> None:
            if self._file(lease).word != word:
                raise NotNow("the file of this lease has another word")
            self._witness.files[lease] = Shown(word, revoked=True)

        await self._ask(write)

    def _file(self, lease: LeaseName) -> Shown:
        shown = self._witness.files.get(lease)
        if shown is None:
            raise NotNow("the witness has no file of this lease")
        return shown

    async def _ask(self, act: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def reach() -> None:
            if self._machine in self._witness.cut:
                self._witness.struck()
                self._witness.held.setdefault(self._machine, []).append(reach)
                return
            try:
                result = act()
            except NotNow as error:
                loop.call_later(self._takes_s, _fail, done, error, context=outside())
            else:
                loop.call_later(self._takes_s, _answer, done, result, context=outside())

        # In no process: what is on its way to the storage arrives, whatever becomes of who sent it.
        loop.call_later(self._takes_s, reach, context=outside())
        try:
            async with asyncio.timeout(self._limit_s):
                return await done
        except TimeoutError as error:
            raise NotNow("the witness does not answer") from error

    @property
    def _takes_s(self) -> float:
        if self._witness.slow_s:
            self._witness.struck()
        return LATENCY_S + self._witness.slow_s


def _answer(done: "asyncio.Future[T]", result: T) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: "asyncio.Future[T]", error: NotNow) -> None:
    if not done.done():
        done.set_exception(error)
