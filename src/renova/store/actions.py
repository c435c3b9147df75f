"""What was done to servers, by whom, and how each part of it went: instance actions and their events."""

from typing import Any

import msgspec
from sqlalchemy import Column, Integer, String, Table, Text, insert, select, update

from renova.model.ids import ProjectId, ServerId, UserId
from renova.store.database import Tx
from renova.store.schema import Stamp, metadata

actions = Table(
    "actions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
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
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("action", Integer, nullable=False, index=True),
    Column("event", String(64), nullable=False),
    Column("host_name", String(255)),
    Column("started_at", Stamp, nullable=False),
    Column("finished_at", Stamp),
    Column("result", String(16)),  # Success, Error; null while open
    Column("details", Text),
    Column("traceback", Text),
)


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
    row = tx.execute(
        insert(actions)
        .values(
            server=server,
            request=request,
            action=action,
            user=user,
            project=project,
            started_at=tx.now,
            updated_at=tx.now,
        )
        .returning(actions.c.id)
    ).one()
    return int(row[0])


def open_event(tx: Tx, action: int, event: str, host_name: str | None) -> None:
    """Open an event unless it is open already: a step that runs again goes on with the event it opened."""
    still = tx.execute(
        select(events.c.id).where(events.c.action == action, events.c.event == event, events.c.finished_at.is_(None))
    ).first()
    if still is None:
        tx.execute(insert(events).values(action=action, event=event, host_name=host_name, started_at=tx.now))


def close_events(
    tx: Tx, action: int, *, error: str | None = None, traceback: str | None = None, event: str | None = None
) -> None:
    """Close the action's open events (or the one named) as Success, or as Error with the reason."""
    query = update(events).where(events.c.action == action, events.c.finished_at.is_(None))
    if event is not None:
        query = query.where(events.c.event == event)
    tx.execute(
        query.values(finished_at=tx.now, result="Error" if error else "Success", details=error, traceback=traceback)
    )
    values: dict[str, Any] = {"updated_at": tx.now}
    if error:
        values["message"] = "Error"
    tx.execute(update(actions).where(actions.c.id == action).values(**values))


def of_server(tx: Tx, server: ServerId) -> list[Action]:
    """List the server's actions, the newest first."""
    rows = tx.execute(select(actions).where(actions.c.server == server).order_by(actions.c.id.desc()))
    return [Action(**row._mapping) for row in rows]


def by_request(tx: Tx, server: ServerId, request: str) -> Action | None:
    row = tx.execute(select(actions).where(actions.c.server == server, actions.c.request == request)).first()
    return Action(**row._mapping) if row else None


def events_of(tx: Tx, action: int) -> list[Event]:
    """List the action's events, the newest first, as Nova does."""
    rows = tx.execute(select(events).where(events.c.action == action).order_by(events.c.id.desc()))
    return [Event(**row._mapping) for row in rows]
