"""Statements that are kept do at the driver what they do through SQLAlchemy."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Executable,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from renova.model.clock import SystemClock
from renova.model.errors import Broken
from renova.store.schema import Document
from renova.store.session import Session
from renova.store.sqlite import SQLiteSession, sqlite_engine

things = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", String(10), nullable=False, unique=True),
    Column("good", Boolean, nullable=False, default=True),
    Column("parts", Document(tuple[str, ...]), nullable=False, default=()),
)


@pytest.fixture
def session() -> Iterator[Session]:
    with sqlite_engine(None).connect() as connection:
        session = SQLiteSession(connection, SystemClock())
        things.metadata.create_all(session.connection)
        add = insert(things)
        for name in ("one", "two", "three"):
            session.execute(add, {"name": name})
        yield session


def both(session: Session, statement: Executable, values: Any = None) -> list[Any]:
    """Run it as one that is new, and twice as one that is kept."""
    return [[tuple(row) for row in session.execute(statement, values)] for _ in range(3)]


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (select(things), None),
        (select(things).where(things.c.name == bindparam("named")), {"named": "two"}),
        (select(things.c.id).where(things.c.name.in_(["one", "three"])).order_by(things.c.id), None),
        (select(things.c.name).where(things.c.id.in_(bindparam("ids", expanding=True))), {"ids": [3, 1]}),
        (select(things.c.name).where(things.c.id.in_(bindparam("ids", expanding=True))), {"ids": []}),
        (select(things.c.name).where(things.c.id.not_in(bindparam("ids", expanding=True))), {"ids": []}),
        (select(func.count(), func.max(things.c.id) + 1).where(things.c.good.is_(True)), None),
        (select(things.c.name).order_by(things.c.id.desc()).limit(2), None),
        (
            update(things).where(things.c.id == bindparam("wanted")).returning(things.c.parts),
            {"wanted": 1, "parts": ("a",)},
        ),
    ],
)
def test_a_kept_statement_gives_what_it_gave_at_first(session: Session, statement: Executable, values: Any) -> None:
    first, second, third = both(session, statement, values)
    assert first == second == third


def test_rows_are_read_by_name_place_and_mapping(session: Session) -> None:
    every = select(things.c.id, things.c.name, things.c.good, things.c.parts).order_by(things.c.id)
    for _ in range(2):
        row = session.execute(every).first()
        assert (row.name, row[1], row.good, row.parts) == ("one", "one", True, ())
        assert dict(row._mapping) == {"id": 1, "name": "one", "good": True, "parts": ()}


def test_a_refused_change_raises_as_sqlalchemy_does_and_tells_no_values(session: Session) -> None:
    add = insert(things)
    for _ in range(3):
        with pytest.raises(IntegrityError) as refused:
            session.execute(add, {"name": "one", "parts": ("a secret",)})
        assert "a secret" not in str(refused.value)


def test_changed_rows_are_counted(session: Session) -> None:
    change = update(things).where(things.c.id <= bindparam("last"))
    assert [session.execute(change, {"last": 2, "good": False}).rowcount for _ in range(3)] == [2, 2, 2]


def test_one_row_is_one(session: Session) -> None:
    every = select(things.c.id)
    for _ in range(2):
        with pytest.raises(Broken):
            session.execute(every).one()
    assert session.execute(every.where(things.c.id == 2)).scalar_one() == 2
