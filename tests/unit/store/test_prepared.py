"""Statements that are kept do at the driver what they do through SQLAlchemy."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
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

from renova.model.errors import Broken
from renova.store import prepared
from renova.store.database import sqlite_engine
from renova.store.schema import Document

things = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", String(10), nullable=False, unique=True),
    Column("good", Boolean, nullable=False, default=True),
    Column("parts", Document(tuple[str, ...]), nullable=False, default=()),
)


@pytest.fixture
def connection() -> Iterator[Connection]:
    with sqlite_engine(None).connect() as connection:
        things.metadata.create_all(connection)
        add = insert(things)
        for name in ("one", "two", "three"):
            prepared.execute(connection, add, {"name": name})
        yield connection


def both(connection: Connection, statement: Executable, values: Any = None) -> list[Any]:
    """Run it as one that is new, and twice as one that is kept."""
    return [[tuple(row) for row in prepared.execute(connection, statement, values)] for _ in range(3)]


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
def test_a_kept_statement_gives_what_it_gave_at_first(
    connection: Connection, statement: Executable, values: Any
) -> None:
    first, second, third = both(connection, statement, values)
    assert first == second == third


def test_rows_are_read_by_name_place_and_mapping(connection: Connection) -> None:
    every = select(things.c.id, things.c.name, things.c.good, things.c.parts).order_by(things.c.id)
    for _ in range(2):
        row = prepared.execute(connection, every).first()
        assert (row.name, row[1], row.good, row.parts) == ("one", "one", True, ())
        assert dict(row._mapping) == {"id": 1, "name": "one", "good": True, "parts": ()}


def test_a_refused_change_raises_as_sqlalchemy_does_and_tells_no_values(connection: Connection) -> None:
    add = insert(things)
    for _ in range(3):
        with pytest.raises(IntegrityError) as refused:
            prepared.execute(connection, add, {"name": "one", "parts": ("a secret",)})
        assert "a secret" not in str(refused.value)


def test_changed_rows_are_counted(connection: Connection) -> None:
    change = update(things).where(things.c.id <= bindparam("last"))
    assert [prepared.execute(connection, change, {"last": 2, "good": False}).rowcount for _ in range(3)] == [2, 2, 2]


def test_one_row_is_one(connection: Connection) -> None:
    every = select(things.c.id)
    for _ in range(2):
        with pytest.raises(Broken):
            prepared.execute(connection, every).one()
    assert prepared.execute(connection, every.where(things.c.id == 2)).scalar_one() == 2
