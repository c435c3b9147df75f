"""Points that an operation passes, counted by what happens there; the one that is chosen has its fault."""

from collections import Counter
from collections.abc import Awaitable, Callable
from enum import StrEnum
from functools import partial
from types import FunctionType, MethodType
from typing import Any, NamedTuple, TypeVar

from renova.engine.operation import Step
from renova.model.errors import Refused
from renova.simulation.processes import current
from renova.store.database import Executor, Tx

T = TypeVar("T")


def process_now() -> str:
    """Name the controller or host in whose name things are done now; "" for the test's own."""
    process = current()
    if process is None:
        return ""
    name = process.name
    return name.removeprefix("agent-") if name.startswith("agent-") else name.rpartition("-")[0]


class Seam(StrEnum):
    """Where a point is."""

    TRANSACTION = "transaction"
    JOURNAL = "journal"
    DRIVER = "driver"
    SERVICE = "service"
    SEND = "send"
    RECEIVE = "receive"


class Point(NamedTuple):
    """A process does something for the n-th time."""

    process: str
    seam: Seam
    what: str
    nth: int

    def __str__(self) -> str:
        return f"{self.process}:{self.seam}:{self.what}:{self.nth}"


class Passing(NamedTuple):
    """A point that is being passed: the call that it is about, and for messages the channel."""

    point: Point
    call: Callable[[], Awaitable[Any]]
    part: Any = None  # the executor or channel underneath
    subject: Any = None  # the transaction's function, the frame


Strike = Callable[[Passing], Awaitable[Any]]


class Taps:
    """All points of one cloud. Counts while it is armed; at the target, `strike` takes the call's place, once."""

    def __init__(self) -> None:
        self.armed = False
        self.passed: list[Point] = []
        self.target: Point | None = None
        self.strike: Strike | None = None
        self.fired = False
        self.gates: dict[tuple[str, Seam], Callable[[], Awaitable[None]]] = {}  # what a fault leaves behind
        self.refused: set[tuple[str, Seam, str]] = set()  # calls that a fault has fail for as long as they are here
        self._counts: Counter[tuple[str, Seam, str]] = Counter()

    def arm(self) -> None:
        """Count from now on; what was armed already goes on counting."""
        self.armed = True

    async def passing(
        self, seam: Seam, what: str, call: Callable[[], Awaitable[T]], part: Any = None, subject: Any = None
    ) -> T:
        """Do the call, or what the fault makes of it."""
        process = process_now()
        if not process:
            return await call()
        if gate := self.gates.get((process, seam)):
            await gate()
        if (process, seam, what) in self.refused:
            raise Refused("not this time either (a planted fault)")
        if not self.armed:
            return await call()
        self._counts[process, seam, what] += 1
        point = Point(process, seam, what, self._counts[process, seam, what])
        self.passed.append(point)
        if point == self.target and not self.fired and self.strike is not None:
            self.fired = True
            struck: T = await self.strike(Passing(point, call, part, subject))
            return struck
        return await call()


class TappedExecutor:
    """A database whose transactions are points."""

    def __init__(self, executor: Executor, taps: Taps) -> None:
        self._executor = executor
        self._taps = taps

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        executor = self._executor
        return await self._taps.passing(
            Seam.TRANSACTION, name_of(fn), lambda: executor.transact(fn), part=executor, subject=fn
        )

    async def read(self, fn: Callable[[Tx], T]) -> T:
        return await self._executor.read(fn)

    def close(self) -> None:
        self._executor.close()


class Tapped:
    """A part whose calls of these names are points."""

    def __init__(self, part: Any, taps: Taps, seam: Seam, calls: tuple[str, ...]) -> None:
        self._part = part
        self._taps = taps
        self._seam = seam
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if name not in self._calls:
            return found
        return lambda *arguments, **options: self._taps.passing(
            self._seam, name, lambda: found(*arguments, **options), part=self._part
        )


NOISE = ("transact.watched", "commit.work", "note.ours")  # what every transaction is wrapped in


def name_of(fn: Any) -> str:
    """Name a transaction by its function, those it closes over, and the step in whose name it is."""
    names: list[str] = []
    _collect(fn, names, set())
    told = [name for name in names if not name.endswith(NOISE)]
    return " ".join(dict.fromkeys(told)) or names[-1]


def _collect(fn: Any, names: list[str], seen: set[int]) -> None:
    if id(fn) in seen:
        return
    seen.add(id(fn))
    if isinstance(fn, partial):
        _collect(fn.func, names, seen)
    elif isinstance(fn, MethodType):
        _collect(fn.__func__, names, seen)
    elif isinstance(fn, Step):
        names.append(f"[{fn.name}]")
    elif isinstance(fn, FunctionType) and fn.__module__.startswith(("renova.", "tests.")):
        names.append(fn.__qualname__.replace("<locals>.", "").replace("<lambda>", "it"))
        for cell in fn.__closure__ or ():
            try:
                _collect(cell.cell_contents, names, seen)
            except ValueError:  # not filled yet
                continue
