"""Operations of servers, under way and waiting: at most one of a server is active, others wait behind a quiet one.

The first by a unique index; the second in their order. Whose an operation is: `ownership`; what its steps came to:
`steps`; all of it as the engine sees it: `journal`.
"""

from typing import Any

from sqlalchemy import Boolean, Column, Index, LargeBinary, String, Table, bindparam, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from renova.engine.journal import Held
from renova.model.errors import Conflict
from renova.model.ids import ExecutorId, OperationId, ServerId
from renova.store import restarts, servers, steps
from renova.store.database import Tx
from renova.store.schema import Number, Stamp, metadata, only_where

operations = Table(
    "operations",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("server", String(36), nullable=False),
    Column("number", Number, nullable=False),
    Column("story", String(64), nullable=False),
    Column("version", Number, nullable=False),
    Column("want", LargeBinary, nullable=False),
    Column("action", Number, nullable=False),
    Column("state", String(16), nullable=False),  # queued, active, done, failed, superseded
    Column("quiet", Boolean, nullable=False, default=False),
    Column("undoing", Boolean, nullable=False, default=False),
    Column("failure", LargeBinary),
    Column("executor", String(36), nullable=False, index=True),
    Column("epoch", Number, nullable=False),
    Column("created_at", Stamp, nullable=False),
    Column("ended_at", Stamp),
    Index("one_active_operation_a_server", "server", unique=True, **only_where(text("state = 'active'"))),
    Index("operations_active", "state", "executor"),
    Index("operations_queued", "server", **only_where(text("state = 'queued'"))),
)

ERASED = b""
# What decides nothing about a guest that crashed, and is to be started again: it is so afterwards, where it is then.
LEAVE_CRASHES = ("create-image", "migrate")
UNDER_WAY = "Another operation on this server is under way."

# Made once: every step runs them, and making a statement costs five times as much as running it. States are written
# out: SQLite plans a statement anew for each value that says whether a partial index may serve.
IS_ACTIVE, _IS_QUEUED = operations.c.state == text("'active'"), operations.c.state == text("'queued'")
_SUBMIT = insert(operations).returning(operations)
_ACTIVE = select(operations).where(operations.c.server == bindparam("server"), IS_ACTIVE)
_QUEUED = select(operations).where(operations.c.server == bindparam("server"), _IS_QUEUED).order_by(operations.c.id)
_FIRST_QUEUED = _QUEUED.limit(1)
CHANGE = update(operations).where(operations.c.id == bindparam("operation"))


def submit(
    tx: Tx,
    server: ServerId,
    *,
    story: str,
    version: int,
    want: bytes,
    action: int,
    executor: ExecutorId,
    quiet: bool = False,
    waits: bool = False,
) -> tuple[OperationId, Held | None]:
    """Add an operation that this executor is to run; returns it if it may begin, and its id either way.

    It waits where a quiet one is active, and where it `waits` for whichever is; else `Conflict` when the server has
    another one that is, or that waits already (the server's task state, which usually says so, an administrator may
    have reset).
    """
    before = active(tx, server)
    waiting = [] if before is None else queued(tx, server)
    if (before is not None and not before.quiet and not waits) or (
        not quiet and any(not held.quiet for held in waiting)
    ):
        raise Conflict(UNDER_WAY)
    values = {
        "server": server,
        "number": _next_number(tx, server, story, quiet=quiet) if before is None else 0,
        "story": story,
        "version": version,
        "want": want,
        "action": action,
        "state": "active" if before is None else "queued",
        "quiet": quiet,
        "executor": executor,
        "epoch": 1,
        "created_at": tx.now,
    }
    try:
        row = tx.execute(_SUBMIT, values).one()
    except IntegrityError as error:
        raise Conflict(UNDER_WAY) from error
    return OperationId(row.id), held_in(row) if before is None else None


def _next_number(tx: Tx, server: ServerId, story: str, *, quiet: bool) -> int:
    number = servers.next_number(tx, server)
    if quiet or story in LEAVE_CRASHES:
        restarts.outlast(tx, server, number)
    return number


def active(tx: Tx, server: ServerId) -> Held | None:
    row = tx.execute(_ACTIVE, {"server": server}).first()
    return held_in(row) if row else None


def unfinished(tx: Tx) -> list[Held]:
    """List the operations of all servers that are active or wait."""
    rows = tx.execute(select(operations).where(operations.c.state.in_(("active", "queued"))))
    return [held_in(row) for row in rows]


def queued(tx: Tx, server: ServerId) -> list[Held]:
    """List what waits behind the server's active operation, the first first."""
    return [held_in(row) for row in tx.execute(_QUEUED, {"server": server})]


def under_way(tx: Tx, server: ServerId) -> list[Held]:
    """List the server's active operation, if any, and what waits behind it."""
    begun = active(tx, server)
    return [*([begun] if begun else []), *queued(tx, server)]


def supersede(tx: Tx, held: Held) -> None:
    """End the operation in favour of a newer one: from this transaction on it can commit nothing."""
    tx.execute(
        CHANGE,
        {"operation": held.id, "state": "superseded", "ended_at": tx.now, "want": ERASED, "failure": None},
    )
    steps.forget(tx, held.id)


def put_back(tx: Tx, held: Held) -> None:
    """Have a quiet operation that has begun wait again, in its old place, to be told from its beginning."""
    tx.execute(CHANGE, {"operation": held.id, "state": "queued", "undoing": False, "failure": None})
    steps.forget(tx, held.id)


def outcome(tx: Tx, operation: OperationId) -> tuple[str, bytes | None]:
    """Return the operation's state and, where it has one, its failure; "lost" of one that the database has lost."""
    row = tx.execute(select(operations.c.state, operations.c.failure).where(operations.c.id == operation)).first()
    return (row.state, row.failure) if row is not None else ("lost", None)


def begin_next(tx: Tx, server: ServerId, executor: ExecutorId) -> Held | None:
    """Make the first that waits the server's active operation, run by this executor."""
    row = tx.execute(_FIRST_QUEUED, {"server": server}).first()
    if row is None:
        return None
    # Numbered only now: in the order in which they reach the host, each has a higher number than the one before.
    number = _next_number(tx, server, row.story, quiet=row.quiet)
    values = {"state": "active", "number": number, "executor": executor}
    tx.execute(CHANGE, {"operation": row.id, "epoch": row.epoch + 1, **values})
    return active(tx, server)


def held_in(row: Any) -> Held:
    """Return a row of the table as the engine knows it."""
    mapping = row._mapping
    return Held(**{name: mapping[name] for name in Held.__struct_fields__})
