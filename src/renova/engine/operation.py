"""The words an operation is told in: a story of steps, each with its undo, and how it ends.

A story is an async function that calls its steps one after the other through `run`. It is read again after a crash:
steps already journalled give their stored results without running. So between steps there is no I/O, no clock and no
chance. Three kinds of step:

- `@act` speaks to the outside. It may run twice (its result is journalled after it, with the write that follows), so
  it says what should be.
- `@write` changes rows, in one transaction with its journal entry: it happens exactly once.
- `@end` is a write with which the operation ends: what users see becomes final in that very transaction.

When a step fails for good, its undo and those of the steps before it run, newest first; then the story's `settle`
puts everything into a final, true state.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, get_type_hints

import msgspec

from renova.model.errors import with_details

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W")

PATIENCE = 300.0  # seconds for which a step is tried again while what it needs is away


class Kind(StrEnum):
    """How a step runs; see the module."""

    ACT = "act"
    WRITE = "write"
    END = "end"


class Step(Generic[P, R]):
    """A step of a story, called as `await run(step, ...)`. Its name is stored: renaming one is a migration."""

    def __init__(self, body: Callable[..., Any], kind: Kind, patience: float) -> None:
        self.name = f"{body.__module__.rpartition('.')[2]}.{body.__name__}"
        self.body = body
        self.kind = kind
        self.patience = patience
        self.undo_body: Callable[..., Any] | None = None
        self.undo_kind = Kind.ACT
        self.__doc__ = body.__doc__
        self._type: Any = None

    def undo(self, body: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """Mark what takes this step back by acting outside; it copes with a step half done, and may run twice."""
        self.undo_body = body
        return body

    def undo_write(self, body: Callable[..., None]) -> Callable[..., None]:
        """Mark what takes this step back by changing rows."""
        self.undo_body = body
        self.undo_kind = Kind.WRITE
        return body

    def encode(self, result: R) -> bytes:
        return msgspec.json.encode(result)

    def decode(self, stored: bytes) -> R:
        if self._type is None:
            self._type = get_type_hints(self.body)["return"]
        value: R = msgspec.json.decode(stored, type=self._type)
        return value


def act(
    *, patience: float = PATIENCE
) -> Callable[[Callable[[Any], Awaitable[R]] | Callable[..., Awaitable[R]]], Step[..., R]]:
    """Make a step of an async function (context, *arguments) that speaks to the outside."""
    return lambda body: Step(body, Kind.ACT, patience)


def write(*, patience: float = PATIENCE) -> Callable[[Callable[..., R]], Step[..., R]]:
    """Make a step of a function (context, transaction, *arguments) that changes rows."""
    return lambda body: Step(body, Kind.WRITE, patience)


def end(*, patience: float = PATIENCE) -> Callable[[Callable[..., None]], Step[..., None]]:
    """Make the last step of a function (context, transaction, *arguments) that changes rows."""
    return lambda body: Step(body, Kind.END, patience)


class Run(Protocol):
    """What a story calls its steps through."""

    async def __call__(self, step: Step[..., R], *arguments: Any) -> R: ...


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an operation failed: the sentence for the user; what details it has and the whole chain, for operators."""

    message: str
    kind: str  # the error's class
    traceback: str
    step: str  # at which it failed
    details: str = ""  # hosts' names, addresses, what programs said

    @property
    def whole(self) -> str:
        """The message with its details, for operators."""
        return with_details(self.message, self.details)


@dataclass(frozen=True, slots=True)
class Story(Generic[W]):
    """An operation as it is told: what is wanted, the steps, and how to leave things when it fails.

    A quiet one may be put back to its beginning by an operation that cannot wait, and is then told again from there:
    all its steps, writes too, say what should be.

    `settle(context, transaction, want, failure)` runs in the transaction that ends the failed operation.
    """

    name: str
    version: int  # a journal written by a story of another version is not replayed with this one
    want: type[W]
    tell: Callable[[Run, W], Awaitable[None]]
    settle: Callable[[Any, Any, W, Failure], None]
    quiet: bool = False  # shows no task state: whatever is asked for meanwhile waits until it has ended
