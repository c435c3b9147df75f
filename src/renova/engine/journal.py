"""What the engine needs kept: operations that are under way, whose they are, and the results of their steps."""

from collections.abc import Callable, Collection
from typing import Protocol, TypeVar

import msgspec

from renova.model.errors import CloudError, NotNow
from renova.model.ids import ExecutorId, OperationId, ServerId

TX_co = TypeVar("TX_co", covariant=True)
T = TypeVar("T")


class Lost(CloudError):
    """The operation is no longer ours: superseded, or taken over after our lease lapsed. Nothing was committed."""


class Elsewhere(NotNow):
    """What a step needs is away from here, but another executor has it."""

    def __init__(self, message: str, executor: ExecutorId) -> None:
        super().__init__(message)
        self.executor = executor


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that this executor may run, for as long as executor and epoch stand in the database.

    A database that lost commits gives their ids again: another operation of the same id was created at another time.
    """

    id: OperationId
    created_at: str  # by the database's clock
    server: ServerId
    number: int  # per server, only rises; commands to hosts carry it
    story: str
    version: int
    want: bytes
    action: int
    executor: ExecutorId
    epoch: int
    undoing: bool
    failure: bytes | None  # why it is being undone
    quiet: bool = False  # others queue behind it (`operation.Story`)


class Entry(msgspec.Struct, frozen=True):
    """A step that is done: its place in the story, its name, its result."""

    place: int
    step: str
    result: bytes


class Book(Protocol):
    """What a transaction may note about the operation in whose name it commits."""

    def result(self, place: int) -> bytes | None:
        """Return the result that is noted for the step at this place; None where none is."""
        ...

    def is_undone(self, place: int) -> bool: ...

    def demand_ours(self, after: int | None = None) -> None:
        """Raise `Lost` now if the operation is no longer ours, before rows are looked at that may be another's.

        No change commits that is not ours, whether it asks or not; what it notes first asks by itself. `after`: the
        place of what was noted last. A database that lost commits does not have it: then what was written with it is
        lost, too, and the operation is to be told anew from what there is.
        """
        ...

    def note(self, entry: Entry) -> None: ...

    def note_undone(self, place: int) -> None: ...

    def begin_undo(self, failure: bytes) -> None: ...

    def close(self, outcome: str) -> Held | None:
        """End the operation (`done` or `failed`); its wants and results, and with them all secrets, are erased.

        Returns the one that waited behind it, which begins once this commits.
        """
        ...


class Journal(Protocol[TX_co]):
    """Keeps operations and the leases of executors (`lease_s` seconds).

    Every commit in the name of an operation first makes sure that it is still ours.

    Where the database gave no answer it raises `NotNow`: what was asked may have happened all the same.
    """

    lease_s: float

    async def commit(self, held: Held, change: Callable[[TX_co, Book], T], name: str) -> T:
        """Run `change` in one transaction, if the operation is still ours; else raise `Lost`.

        `name` says what of the story it is, for whoever follows what the database is asked.
        """
        ...

    async def read(self, held: Held) -> tuple[list[Entry], set[int]]:
        """Return the entries in order, and the places that are undone already; `Lost` if it is not ours."""
        ...

    async def enlist(self, executor: ExecutorId, *, alone: bool = False) -> None:
        """Have this executor, leased; `alone`: no other can live, and all there were are dead."""
        ...

    async def keep_alive(self, executor: ExecutorId) -> bool:
        """Renew the executor's lease; False when others have taken it for dead: then it must run nothing more."""
        ...

    async def resign(self, executor: ExecutorId) -> None:
        """Give away at once all that is the executor's: it runs nothing more."""
        ...

    def on_free(self, call: Callable[[], None]) -> None:
        """Have it called when another may have given operations away; it may be missed."""
        ...

    async def give_away(self, held: Held, to: ExecutorId | None = None) -> None:
        """Have the operation be nobody's, for another to take over; nothing happens if it is not ours.

        Or have it be this executor's, under a higher epoch; nothing happens if that is dead.
        """
        ...

    async def adopt(self, executor: ExecutorId, stories: Collection[tuple[str, int]], *, bury: bool) -> list[Held]:
        """Take over operations of these stories and versions that are nobody's, under a higher epoch; return them.

        With `bury`, executors whose leases have lapsed are taken for dead first.
        """
        ...

    async def held_by(self, executor: ExecutorId) -> dict[OperationId, str]:
        """Return all that the executor has to run, and when each was created."""
        ...

    async def take_again(self, executor: ExecutorId, operations: Collection[OperationId]) -> list[Held]:
        """Return those of these that are the executor's still, under a higher epoch."""
        ...
