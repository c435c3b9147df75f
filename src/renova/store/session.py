"""What a database must offer to those who serve transactions on it: a connection used by one thread at a time.

Called by `writer` and `inline`; one each for SQLite and PostgreSQL obeys it. Nothing else knows which database it is.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Protocol

from sqlalchemy import Executable
from sqlalchemy.exc import DBAPIError

from renova.store.prepared import Rows

TURNS = 5  # of a transaction that others are in the way of; of a group then each member is tried alone, as often
UNKEPT = "A value cannot be kept: text has no NUL characters and is valid Unicode, whole numbers have 64 bits."


class Spoilt(Exception):
    """A member of a group failed after something was written: the group is undone, and runs again member by member.

    Nobody knows whose failure it is, when it is of a statement that was sent ahead; its cause says what it was.
    """


class Trouble(Enum):
    """What an error says about the transaction in which it was raised."""

    NONE = auto()  # its caller's own: what was done since the savepoint can be undone, and the transaction go on
    AWAY = auto()  # as NONE, but it is the database that cannot serve now
    AGAIN = auto()  # another controller's transaction was in the way: nothing was done, and it may work at once
    LOST = auto()  # the connection, or all of the transaction, is gone


class Session(Protocol):
    """One connection, on which one transaction follows the other."""

    def begin(self) -> str:
        """Begin a transaction, over a new connection if the last was lost; return the time of what it does."""
        ...

    def execute(self, statement: Executable, values: Any = None) -> Rows: ...

    def demand(self, statement: Executable, values: Any, otherwise: Callable[[], Exception]) -> None:
        """Run a statement that must give or change a row: raise `otherwise()` if it does not, at once or as `Spoilt`.

        A session that sends ahead may find that out with any later statement of the transaction, or when it settles.
        """
        ...

    def settle(self) -> None:
        """Wait until all that was sent ahead is done; `Spoilt` if something of it failed. A commit follows it."""
        ...

    def commit(self) -> None:
        """Make durable what was written, and what was read, whoever wrote it.

        An error other than `Trouble.AGAIN` may also mean that it is: nobody knows.
        """
        ...

    def rollback(self) -> None:
        """Undo the transaction, if there is one; raises nothing."""
        ...

    def mark(self) -> int:
        """Return a mark of this moment in the transaction."""
        ...

    def clean_since(self, mark: int) -> bool:
        """Say whether nothing was written since then and the transaction can go on, with all that was sent ahead."""
        ...

    def savepoint(self) -> None:
        """Set one; until it is undone or released nothing is sent ahead, so that each failure is known by its own."""
        ...

    def undo(self) -> None:
        """Undo what was done since the savepoint, and forget that."""
        ...

    def release(self) -> None:
        """Keep what was done since the savepoint, and forget that."""
        ...

    def trouble(self, error: Exception) -> Trouble: ...

    def close(self) -> None: ...


def reason(error: Exception) -> str:
    """Say what the database said, without the statement: this goes to operators."""
    return str(error.orig) if isinstance(error, DBAPIError) else str(error)
