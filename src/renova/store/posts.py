"""Posts: what one controller at a time does for all of them, each held by an executor for as long as that lives.

Whoever comes first takes it; when its holder has resigned or was taken for dead, the next may. A holder that was only
frozen finds out by its own lease (`engine.executor`), or here: what it does in one transaction it does as the holder,
or not at all.
"""

from collections.abc import Mapping

import msgspec
from sqlalchemy import Column, String, Table, Text, bindparam, delete, insert, select, update

from renova.engine.executor import Executor
from renova.model.ids import ExecutorId
from renova.store.database import Database, Tx
from renova.store.executors import executors
from renova.store.schema import Stamp, metadata

posts = Table(
    "posts",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("executor", String(36), nullable=False),
    Column("since", Stamp, nullable=False),
)

duty_rounds = Table(
    "duty_rounds",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("began_at", Stamp, nullable=False),
    Column("told", Text, nullable=False),  # how it went, as JSON
)

# Made once: making a statement costs five times as much as running it, and the holder is asked for all the time.
_HOLDER = (
    select(posts.c.executor, executors.c.id.label("alive"))
    .join_from(posts, executors, executors.c.id == posts.c.executor, isouter=True)
    .where(posts.c.name == bindparam("name"))
)
_HELD = (
    select(posts.c.name, posts.c.executor, posts.c.since, executors.c.name.label("controller"))
    .join_from(posts, executors, executors.c.id == posts.c.executor)
    .order_by(posts.c.name)
)
_TAKE = insert(posts)
_TAKE_OVER = update(posts).where(posts.c.name == bindparam("post"))
_LEAVE = delete(posts).where(posts.c.name == bindparam("name"), posts.c.executor == bindparam("executor"))
_BEGAN_AT = select(duty_rounds.c.began_at).where(duty_rounds.c.name == bindparam("name"))
_TOLD = select(duty_rounds.c.name, duty_rounds.c.told)
_TELL_FIRST = insert(duty_rounds)
_TELL = update(duty_rounds).where(duty_rounds.c.name == bindparam("duty"))


class Held(msgspec.Struct, frozen=True):
    """A post that somebody holds who is not taken for dead."""

    name: str
    executor: ExecutorId
    controller: str  # by name
    since: str


def take(tx: Tx, name: str, executor: ExecutorId) -> bool:
    """Hold the post, unless another does who is not taken for dead."""
    row = tx.execute(_HOLDER, {"name": name}).first()
    if row is None:
        tx.execute(_TAKE, {"name": name, "executor": executor, "since": tx.now})
    elif row.executor == executor:
        return True
    elif row.alive is not None:
        return False
    else:
        tx.execute(_TAKE_OVER, {"post": name, "executor": executor, "since": tx.now})
    return True


def holds(tx: Tx, name: str, executor: ExecutorId) -> bool:
    row = tx.execute(_HOLDER, {"name": name}).first()
    return row is not None and row.executor == executor


def leave(tx: Tx, name: str, executor: ExecutorId) -> bool:
    """Free the post; False when somebody else has it by now."""
    return tx.execute(_LEAVE, {"name": name, "executor": executor}).rowcount == 1


def held(tx: Tx) -> list[Held]:
    return [Held(**row._mapping) for row in tx.execute(_HELD)]


class Post:
    """One post, as one controller sees it."""

    def __init__(self, database: Database, me: Executor, name: str) -> None:
        self._database = database
        self._me = me
        self._name = name

    async def mine(self) -> bool:
        """Take the post if it is free, and say whether it is ours."""
        me = self._me.id
        row = await self._database.read(lambda tx: tx.execute(_HOLDER, {"name": self._name}).first())
        if row is not None and (row.executor == me or row.alive is not None):
            return bool(row.executor == me)
        return await self._database.transact(lambda tx: take(tx, self._name, me))


# --- how duties went ---


def began_at(tx: Tx, duty: str) -> str | None:
    """Return when the duty was begun the last time that it was done; None if it never was."""
    row = tx.execute(_BEGAN_AT, {"name": duty}).first()
    return row.began_at if row else None


def told(tx: Tx) -> Mapping[str, str]:
    """Return how each duty went the last time, as it was written down."""
    return {row.name: row.told for row in tx.execute(_TOLD)}


def tell(tx: Tx, duty: str, began: str, how: str) -> None:
    """Write down how the duty went."""
    values = {"began_at": began, "told": how}
    if tx.execute(_TELL, {"duty": duty, **values}).rowcount == 0:
        tx.execute(_TELL_FIRST, {"name": duty, **values})
