"""What the engine needs kept: operations that are under way, whose they are, and the results of their steps."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from renova.model.errors import CloudError
from renova.model.ids import ExecutorId, OperationId, ServerId

TX_co = TypeVar("TX_co", covariant=True)
T = TypeVar("T")


class Lost(CloudError):
    """The operation is no longer ours: superseded, or taken over after our lease lapsed. Nothing was committed."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """An operation that this executor may run, for as long as executor and epoch stand in the database."""

    id: OperationId
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

    def note(self, entry: Entry) -> None: ...

    def note_undone(self, place: int) -> None: ...

    def begin_undo(self, failure: bytes) -> None: ...

    def close(self, outcome: str) -> Held | None:
        """End the operation (`done` or `failed`); its wants and results, and with them all secrets, are erased.

        Returns the one that waited behind it, which begins once this commits.
        """
        ...


class Journal(Protocol[TX_co]):
    """Keeps operations; every commit in the name of one first makes sure that it is still ours."""

    async def commit(self, held: Held, change: Callable[[TX_co, Book], T]) -> T:
        """Run `change` in one transaction, if the operation is still ours; else raise `Lost`."""
        ...

    async def read(self, held: Held) -> tuple[list[Entry], set[int]]:
        """Return the entries in order, and the places that are undone already."""
        ...

    async def keep_alive(self, executor: ExecutorId) -> bool:
        """Renew the executor's lease; False when others have taken it for dead: then it must run nothing more."""
        ...

    async def adopt(self, executor: ExecutorId) -> list[Held]:
        """Take over every operation whose executor is dead, under a higher epoch, and return them."""
        ...
