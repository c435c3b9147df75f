"""Statements that were made once, run at the driver: SQLAlchemy's way through each execution costs ten times as much.

A statement that is executed a second time is one that is kept: it is compiled once for each set of names of its values,
and its SQL, its values and its rows go straight to and from SQLite. Every other statement goes through SQLAlchemy.
Statements cannot be changed, so what was compiled stays true. Nobody but `store.database` calls this.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import BindParameter, Connection, Dialect, Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import Delete, Insert, Select, Update
from sqlalchemy.sql.compiler import SQLCompiler

from renova.model.errors import Broken

_Converter = Callable[[Any], Any]


class Rows:
    """What a statement gave: rows, read by column name or place, and how many rows it changed."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: Sequence[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> Sequence[Any]:
        return self._rows

    def first(self) -> Any:
        """Return the first row, or None."""
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        """Return the only row. `Broken` if there is another number of them."""
        if len(self._rows) != 1:
            raise Broken(f"a statement that gives one row gave {len(self._rows)}")
        return self._rows[0]

    def scalars(self) -> list[Any]:
        """Return the first column."""
        return [row[0] for row in self._rows]

    def scalar(self) -> Any:
        """Return the first column of the first row, or None."""
        return self._rows[0][0] if self._rows else None

    def scalar_one(self) -> Any:
        """Return the first column of the only row. `Broken` if there is another number of them."""
        return self.one()[0]


class _Row(tuple[Any, ...]):
    """A row of one statement, whose columns are properties of a class of its own."""

    __slots__ = ()
    names: tuple[str, ...] = ()

    @property
    def _mapping(self) -> dict[str, Any]:
        return dict(zip(self.names, self, strict=True))


class _Prepared:
    """A statement's SQL, and how its values and rows are converted."""

    __slots__ = ("_converted", "_lists", "_row", "_sql", "_values")

    def __init__(self, sql: str, values: "list[_Value]", row: type[_Row] | None, converted: "list[_Place]") -> None:
        self._sql = sql
        self._values = values
        self._lists = [value.name for value in values if value.is_list]
        self._row = row
        self._converted = converted

    def run(self, raw: sqlite3.Connection, dialect: Dialect, given: Mapping[str, Any]) -> Rows:
        if self._lists:
            sql, bound = self._with_lists(given)
        else:
            sql = self._sql
            bound = [
                constant if name is None else given[name] if convert is None else convert(given[name])
                for name, constant, convert, _ in self._values
            ]
        try:
            cursor = raw.execute(sql, bound)
            found = cursor.fetchall() if self._row is not None else ()
        except sqlite3.Error as error:
            # As SQLAlchemy tells it, and without the values: there may be secrets among them.
            raise DBAPIError.instance(sql, None, error, sqlite3.Error, hide_parameters=True, dialect=dialect) from error
        if self._row is None or not found:
            return Rows((), cursor.rowcount)
        if not self._converted:
            return Rows([*map(self._row, found)], cursor.rowcount)
        return Rows([self._row(self._convert(row)) for row in found], cursor.rowcount)

    def _with_lists(self, given: Mapping[str, Any]) -> tuple[str, list[Any]]:
        """Write the lists out: as many marks as there are values."""
        sql, bound = self._sql, list[Any]()
        for name, constant, convert, is_list in self._values:
            each = [constant] if name is None else given[name] if is_list else [given[name]]
            bound += [convert(one) for one in each] if convert is not None else each
            if is_list:
                sql = sql.replace(_marker(name), ",".join("?" * len(each)))
        return sql, bound

    def _convert(self, row: tuple[Any, ...]) -> list[Any]:
        values = list(row)
        for place, convert in self._converted:
            values[place] = convert(values[place])
        return values


class _Value(NamedTuple):
    """What is bound at one place: the value of this name, or a constant that is converted already."""

    name: str | None
    constant: Any = None
    convert: _Converter | None = None
    is_list: bool = False


_Place = tuple[int, _Converter]  # a column that is converted
_Kept = dict[tuple[str, ...], _Prepared | None]  # by the names of the values; None: for SQLAlchemy only
_kept: WeakKeyDictionary[Executable, _Kept] = WeakKeyDictionary()


def execute(connection: Connection, statement: Executable, values: Any = None) -> Rows:
    """Run a statement with values by name, or with a list of such."""
    kept = _kept.get(statement)
    if kept is None:
        _kept[statement] = {}
    elif values is None or type(values) is dict:
        given = values or {}
        names = tuple(given)
        try:
            prepared = kept[names]
        except KeyError:
            prepared = kept[names] = _prepare(statement, names, connection.dialect)
        if prepared is not None:
            raw: Any = connection.connection.driver_connection
            return prepared.run(raw, connection.dialect, given)
    result = connection.execute(statement, values)
    return Rows(result.all() if result.returns_rows else (), result.rowcount)


def _prepare(statement: Executable, names: tuple[str, ...], dialect: Dialect) -> _Prepared | None:
    """Compile it for values of these names; None if it takes more than values to run it."""
    if not isinstance(statement, Select | Insert | Update | Delete):
        return None
    # As `Connection.execute` does it.
    compiled = statement.compile(dialect=dialect, column_keys=sorted(names))
    if not isinstance(compiled, SQLCompiler) or compiled.positiontup is None or compiled.update_prefetch:
        return None
    sql, values = str(compiled), list[_Value]()
    defaults = {column.key: column.default for column in compiled.insert_prefetch}
    for place in compiled.positiontup:
        bind = compiled.binds[place]
        found = _value(bind, names, defaults, bind.type.dialect_impl(dialect).bind_processor(dialect))
        listed = not bind.expanding or (_marker(place) in sql and found is not None and found.name in (None, place))
        if found is None or bind.literal_execute or not listed:
            return None
        if bind.expanding and found.name is None:
            sql = sql.replace(_marker(place), ",".join("?" * len(found.constant)))
            values += [_Value(None, each) for each in found.constant]
        else:
            values.append(found)
    return _Prepared(sql, values, *_shape(statement, dialect))


def _value(
    bind: BindParameter[Any], names: Collection[str], defaults: Mapping[str, Any], convert: _Converter | None
) -> _Value | None:
    """Say what is bound to a parameter; None if that takes SQLAlchemy, to make it or to refuse it."""
    if bind.key in names:
        return _Value(bind.key, None, convert, bind.expanding)
    constant: Any = bind.value
    if bind.key in defaults:
        default = defaults[bind.key]
        if default is None or not default.is_scalar:
            return None
        constant = default.arg
    elif bind.required or bind.callable is not None:
        return None
    if convert is None:
        return _Value(None, constant)
    return _Value(None, [convert(each) for each in constant] if bind.expanding else convert(constant))


def _marker(name: str | None) -> str:
    """Return what SQLAlchemy writes where a list will be."""
    return f"__[POSTCOMPILE_{name}]"


def _shape(
    statement: Select[Any] | Insert | Update | Delete, dialect: Dialect
) -> tuple[type[_Row] | None, list[_Place]]:
    """Return the class of the statement's rows, if it gives any, and which columns are converted how."""
    columns = list(statement.exported_columns)
    if not columns:
        return None, []
    names = tuple(getattr(column, "name", f"_{place}") for place, column in enumerate(columns))
    properties = {name: property(itemgetter(place)) for place, name in reversed([*enumerate(names)])}
    row = type("_RowOfStatement", (_Row,), {"__slots__": (), "names": names, **properties})
    processors = (column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns)
    return row, [(place, convert) for place, convert in enumerate(processors) if convert is not None]
