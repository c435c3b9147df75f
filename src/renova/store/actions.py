"""What was done to servers, by whom, and how each part of it went: instance actions and their events."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Column, Index, String, Table, Text, bindparam, insert, select, update

from renova.model.ids import ProjectId, ServerId, UserId
from renova.store.database import Tx
from renova.store.schema import Number, Stamp, metadata, only_where

actions = Table(
    "actions",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("server", String(36), nullable=False, index=True),
    Column("request", String(64), nullable=False, index=True),
    Column("action", String(64), nullable=False),
    Column("user", String(36), nullable=False),
    Column("project", String(36), nullable=False),
    Column("message", Text),
    Column("started_at", Stamp, nullable=False),
    Column("updated_at", Stamp, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", Number, primary_key=True, autoincrement=True),
    Column("action", Number, nullable=False, index=True),
    Column("event", String(64), nullable=False),
    Column("host_name", String(255)),
    Column("started_at", Stamp, nullable=False),
    Column("finished_at", Stamp),
    Column("result", String(16)),  # Success, Error; null while open
    Column("details", Text),
    Column("traceback", Text),
)
Index("events_open", events.c.action, **only_where(events.c.finished_at.is_(None)))


# Made once: making a statement costs five times as much as running it.
_BEGIN = insert(actions).returning(actions.c.id)
_CHANGE = update(actions).where(actions.c.id == bindparam("wanted"))
_STILL_OPEN = select(events.c.id).where(
    events.c.action == bindparam("of"), events.c.event == bindparam("named"), events.c.finished_at.is_(None)
)
_GET = select(actions).where(actions.c.id == bindparam("wanted"))
_OF_SERVER = select(actions).where(actions.c.server == bindparam("server")).order_by(actions.c.id.desc())
_NEWEST = _OF_SERVER.limit(1)
_NEWEST_OF = (
    select(actions)
    .where(actions.c.server == bindparam("server"), actions.c.action.in_(bindparam("named", expanding=True)))
    .order_by(actions.c.id.desc())
    .limit(1)
)
_OPEN = insert(events)
_CLOSE = update(events).where(events.c.action == bindparam("of"), events.c.finished_at.is_(None))
_CLOSE_ONE = _CLOSE.where(events.c.event == bindparam("named"))


class Action(msgspec.Struct, frozen=True):
    """One request's doing to one server."""

    id: int
    server: ServerId
    request: str
    action: str
    user: UserId
    project: ProjectId
    message: str | None
    started_at: str
    updated_at: str


class Event(msgspec.Struct, frozen=True):
    """One part of an action."""

    id: int
    action: int
    event: str
    host_name: str | None
    started_at: str
    finished_at: str | None
    result: str | None
    details: str | None
    traceback: str | None


def begin(tx: Tx, server: ServerId, request: str, action: str, user: UserId, project: ProjectId) -> int:
    values = {
        "server": server,
        "request": request,
        "action": action,
        "user": user,
        "project": project,
        "started_at": tx.now,
        "updated_at": tx.now,
    }
    return int(tx.execute(_BEGIN, values).scalar_one())


def open_event(tx: Tx, action: int, event: str, host_name: str | None, details: str | None = None) -> bool:
    """Open an event, unless it is open already: what is told again goes on with the event it opened. Says whether."""
    if tx.execute(_STILL_OPEN, {"of": action, "named": event}).first() is not None:
        return False
    opened = {"event": event, "host_name": host_name, "started_at": tx.now, "details": details}
    tx.execute(_OPEN, {"action": action, **opened})
    return True


def close_events(
    tx: Tx,
    action: int,
    *,
    error: str | None = None,
    traceback: str | None = None,
    event: str | None = None,
    details: str | None = None,
) -> None:
    """Close the action's open events (or the one named) as Success, or as Error with the reason for its details."""
    which = {"of": action} if event is None else {"of": action, "named": event}
    how: dict[str, Any] = {"finished_at": tx.now, "result": "Error" if error else "Success"}
    if error:
        how |= {"details": error, "traceback": traceback}
    elif details:
        how["details"] = details
    tx.execute(_CLOSE if event is None else _CLOSE_ONE, {**which, **how})
    tx.execute(_CHANGE, {"wanted": action, "updated_at": tx.now, "message": "Error" if error else None})


def say(tx: Tx, action: int, message: str | None) -> None:
    """Tell whoever looks at the action, until its next event ends, what it waits for; None for nothing any more."""
    tx.execute(_CHANGE, {"wanted": action, "updated_at": tx.now, "message": message})


def fail_event(tx: Tx, action: int, event: str, error: str) -> None:
    """Close one event as Error while its action goes on in another way, and may still succeed."""
    how = {"finished_at": tx.now, "result": "Error", "details": error}
    tx.execute(_CLOSE_ONE, {"of": action, "named": event, **how})


def of_server(tx: Tx, server: ServerId) -> list[Action]:
    """List the server's actions, the newest first."""
    return [Action(**row._mapping) for row in tx.execute(_OF_SERVER, {"server": server})]


def get(tx: Tx, action: int) -> Action:
    return Action(**tx.execute(_GET, {"wanted": action}).one()._mapping)


def newest(tx: Tx, server: ServerId) -> Action | None:
    row = tx.execute(_NEWEST, {"server": server}).first()
    return Action(**row._mapping) if row else None


def newest_of(tx: Tx, server: ServerId, named: Sequence[str]) -> Action | None:
    """Return the server's newest action that has one of these names."""
    row = tx.execute(_NEWEST_OF, {"server": server, "named": named}).first()
    return Action(**row._mapping) if row else None


def by_request(tx: Tx, server: ServerId, request: str) -> Action | None:
    row = tx.execute(select(actions).where(actions.c.server == server, actions.c.request == request)).first()
    return Action(**row._mapping) if row else None


def waiting(tx: Tx) -> list[Action]:
    """List the actions under way that say what they wait for, the oldest first."""
    under_way = select(events.c.action).where(events.c.finished_at.is_(None))
    wait = actions.c.message.is_not(None) & actions.c.id.in_(under_way)
    return [Action(**row._mapping) for row in tx.execute(select(actions).where(wait).order_by(actions.c.id))]


def requests(tx: Tx) -> dict[tuple[ServerId, str], str]:
    """Return the action that each request began, by server and request."""
    rows = tx.execute(select(actions.c.server, actions.c.request, actions.c.action))
    return {(row.server, row.request): row.action for row in rows}


def open_events(tx: Tx) -> list[Event]:
    """List the events of all actions that are not closed."""
    return [Event(**row._mapping) for row in tx.execute(select(events).where(events.c.finished_at.is_(None)))]


def events_of(tx: Tx, action: int) -> list[Event]:
    """List the action's events, the newest first, as Nova does."""
    rows = tx.execute(select(events).where(events.c.action == action).order_by(events.c.id.desc()))
    return [Event(**row._mapping) for row in rows]
