"""One database, one synchronous `transact(fn)`: the only way to change what the cloud knows.

What is here says nothing of which database it is. Transactions are served by an executor: `writer` has a thread with
group commit, `inline` runs them at once; over a connection as `sqlite` and `postgresql` make it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from renova.store.session import Session

T = TypeVar("T")


class Tx:
    """A transaction: statements, the time it began, and what to do at its end and once it is committed."""

    __slots__ = ("afterwards", "demand", "ending", "execute", "now", "otherwise", "session", "watch")

    def __init__(self, session: Session, now: str) -> None:
        self.session = session
        self.now = now
        self.execute, self.demand = session.execute, session.demand
        self.afterwards: list[Callable[[], None]] = []
        self.otherwise: list[Callable[[], None]] = []
        self.ending: list[Callable[[], None]] = []
        self.watch: Watch | None = None

    def then(self, call: Callable[[], None]) -> None:
        """Have `call` run on the event loop after the commit; never if it does not commit."""
        self.afterwards.append(call)

    def unless(self, call: Callable[[], None]) -> None:
        """Have `call` run before the next transaction if this one does not commit; never if it does."""
        self.otherwise.append(call)

    def undone(self) -> None:
        """Tell those who wanted to know that it did not commit."""
        for call in self.otherwise:
            call()

    def last(self, call: Callable[[], None]) -> None:
        """Have `call` run in this transaction, when all else of it is done; only in one that is watched."""
        self.ending.append(call)


# Told of a changed state of a server: (transaction, the server before or None, the server now).
Watch: TypeAlias = Callable[[Tx, Any, Any], None]


class Executor(Protocol):
    """Runs transactions one after the other, each all or nothing."""

    async def transact(self, fn: Callable[[Tx], T]) -> T: ...
    async def read(self, fn: Callable[[Tx], T]) -> T: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Standing:
    """Which unbroken stretch of the database's history is read; while it is the same, nothing was missed."""

    generation: int = 1  # rises whenever a connection was lost and another made
    timeline: str = ""  # of the server: another one after a failover


class Bell(Protocol):
    """By which controllers on one database wake each other."""

    def ring(self, tx: Tx, topic: str) -> None:
        """Have all hear the topic once the transaction commits."""
        ...

    def listen(self, heard: Callable[[str | None], None]) -> None:
        """Call it on this event loop with each topic; with None when topics may have been missed."""
        ...

    def close(self) -> None: ...


class History(Protocol):
    """Knows of failovers, and whether they may have lost commits."""

    def begin(self, tx: Tx) -> None:
        """Put all on hold where the database may have lost commits; called before all else of each transaction."""
        ...

    def agrees(self, tx: Tx) -> bool:
        """Say whether what was noted of replication still is so."""
        ...

    def note(self, tx: Tx) -> None:
        """Note how replication is."""
        ...


class Database:
    """What the rest of the controller sees of the database."""

    def __init__(
        self,
        executor: Executor,
        standing: Callable[[], Standing] = Standing,
        bell: Bell | None = None,
        history: History | None = None,
    ) -> None:
        self.history = history  # None: no other server takes over
        self._executor = executor
        self._standing = standing
        self._bell = bell
        self._sleepers: dict[str, list[Callable[[], None]]] = {}
        self.watch: Watch | None = None  # who is told of servers' changed states, within the transactions

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` in one transaction and return its result once that is durable, with all that it rests on.

        What `fn` raises undoes all it did, and nothing of other transactions. `fn` may touch only the transaction:
        no I/O, no await, and it may run more than once. A database that cannot serve raises `DatabaseAway`; so does a
        commit of which nobody knows whether it succeeded, for its answer was lost: who is told so may assume nothing.
        """
        if self.watch is None and self.history is None:
            return await self._executor.transact(fn)

        def watched(tx: Tx) -> T:
            if self.history is not None:
                self.history.begin(tx)
            tx.watch = self.watch
            result = fn(tx)
            for call in tx.ending:
                call()
            return result

        return await self._executor.transact(watched)

    async def read(self, fn: Callable[[Tx], T]) -> T:
        """Run `fn` on a consistent view of what is committed; it must not write.

        A failover may undo what it saw, if whoever committed that was not told so yet: what must not be done for
        nothing rests on a transaction.
        """
        return await self._executor.read(fn)

    def wake(self, tx: Tx, topic: str) -> None:
        """Wake who waits for this, here and in all other controllers, once the transaction commits."""
        if self._bell is not None:
            self._bell.ring(tx, topic)
        tx.then(lambda: self._heard(topic))

    def on_wake(self, topic: str, call: Callable[[], None]) -> None:
        """Have it called on the event loop when somebody wakes for this; it may be missed, and come for nothing."""
        if not self._sleepers and self._bell is not None:
            self._bell.listen(self._heard)
        self._sleepers.setdefault(topic, []).append(call)

    def _heard(self, topic: str | None) -> None:
        for each in list(self._sleepers) if topic is None else [topic]:
            for call in self._sleepers.get(each, ()):
                call()

    @property
    def standing(self) -> Standing:
        """Return how the database stood last; observations made under another standing count for nothing."""
        return self._standing()

    def close(self) -> None:
        if self._bell is not None:
            self._bell.close()
        self._executor.close()
