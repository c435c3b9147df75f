"""Statements that were made once, run at the driver: SQLAlchemy's way through each execution costs ten times as much.

A statement that is executed a second time is one that is kept: it is compiled once for each set of names of its values,
and its SQL, its values and its rows go straight to and from the database. Every other statement goes through
SQLAlchemy. Statements cannot be changed, so what was compiled stays true. What is common to all databases is here;
`sqlite` and `postgresql` add how one of theirs is bound and run.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import BindParameter, Connection, Dialect, Executable
from sqlalchemy.sql import Delete, Insert, Select, Update
from sqlalchemy.sql.compiler import SQLCompiler

from renova.model.errors import Broken

Converter: TypeAlias = Callable[[Any], Any]
Statement: TypeAlias = Select[Any] | Insert | Update | Delete
P = TypeVar("P")


class Rows:
    """What a statement gave: rows, read by column name or place, and how many rows it changed."""

    __slots__ = ("_changed", "_rows")

    def __init__(self, rows: Sequence[Any], changed: int) -> None:
        self._rows = rows
        self._changed = changed

    @property
    def rowcount(self) -> int:
        """Return how many rows the statement gave or changed."""
        return self._changed

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


class Row(tuple[Any, ...]):
    """A row of one statement, whose columns are properties of a class of its own."""

    __slots__ = ()
    names: tuple[str, ...] = ()

    @property
    def _mapping(self) -> dict[str, Any]:
        return dict(zip(self.names, self, strict=True))


class Value(NamedTuple):
    """What is bound at one place: the value of this name, or a constant that is converted already."""

    name: str | None
    constant: Any = None
    convert: Converter | None = None
    is_list: bool = False

    def of(self, given: Mapping[str, Any]) -> Any:
        if self.name is None:
            return self.constant
        return given[self.name] if self.convert is None else self.convert(given[self.name])


class Shape(NamedTuple):
    """The class of a statement's rows, if it gives any, and which columns are converted how."""

    row: type[Row] | None
    converted: list[tuple[int, Converter]]

    def rows(self, found: Sequence[tuple[Any, ...]]) -> list[Any]:
        assert self.row is not None
        if not self.converted:
            return [*map(self.row, found)]
        return [self.row(self._convert(row)) for row in found]

    def _convert(self, row: tuple[Any, ...]) -> list[Any]:
        values = list(row)
        for place, convert in self.converted:
            values[place] = convert(values[place])
        return values


_DOUBLE = 701  # PostgreSQL's number of the type that fractions have; converters of other types look at no number
_Kept: TypeAlias = dict[tuple[str, ...], P | None]  # by the names of the values; None: for SQLAlchemy only


class Statements(ABC, Generic[P]):
    """Runs statements on one connection; what is kept of them is common to all connections to such a database."""

    kept: "ClassVar[WeakKeyDictionary[Executable, _Kept[Any]]]"

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def execute(self, statement: Executable, values: Any = None) -> Rows:
        """Run a statement with values by name, or with a list of such."""
        prepared = self.prepared(statement, values)
        return self.run_new(statement, values) if prepared is None else self.run(prepared, values or {})

    def prepared(self, statement: Executable, values: Any) -> P | None:
        """Return what is kept of the statement for such values, from its second time on; None where nothing is."""
        kept = self.kept.get(statement)
        if kept is None:
            self.kept[statement] = {}
            return None
        if values is not None and type(values) is not dict:
            return None
        names = tuple(values or ())
        try:
            return kept[names]
        except KeyError:
            prepared = kept[names] = self._prepare(statement, names)
            return prepared

    def demand(self, statement: Executable, values: Any, otherwise: Callable[[], Exception]) -> None:
        """Run a statement that must give or change a row; raise `otherwise()` if it does not."""
        done = self.execute(statement, values)
        # Of what it has not kept yet SQLAlchemy may not know how much was changed, and says -1.
        if done.first() is None if isinstance(statement, Select) else done.rowcount == 0:
            raise otherwise()

    def settle(self) -> None:
        """Do nothing: every statement was waited for."""

    def run_new(self, statement: Executable, values: Any) -> Rows:
        """Run a statement that is not kept."""
        result = self.connection.execute(statement, values)
        return Rows(result.all() if result.returns_rows else (), result.rowcount)

    @abstractmethod
    def run(self, prepared: P, given: Mapping[str, Any]) -> Rows: ...

    @abstractmethod
    def keep(self, statement: Statement, compiled: SQLCompiler, names: Collection[str]) -> P | None:
        """Return what is kept of a compiled statement; None if it takes more than values to run it."""
        ...

    def _prepare(self, statement: Executable, names: tuple[str, ...]) -> P | None:
        if not isinstance(statement, Select | Insert | Update | Delete):
            return None
        # As `Connection.execute` does it.
        compiled = statement.compile(dialect=self.connection.dialect, column_keys=sorted(names))
        if not isinstance(compiled, SQLCompiler) or compiled.update_prefetch:
            return None
        return self.keep(statement, compiled, names)


def value(compiled: SQLCompiler, place: str, names: Collection[str]) -> Value | None:
    """Say what is bound to a parameter; None if that takes SQLAlchemy, to make it or to refuse it."""
    bind: BindParameter[Any] = compiled.binds[place]
    if bind.literal_execute:
        return None
    convert = bind.type.dialect_impl(compiled.dialect).bind_processor(compiled.dialect)
    if bind.key in names:
        return Value(bind.key, None, convert, bind.expanding)
    constant: Any = bind.value
    defaults: dict[str, Any] = {str(column.key): column.default for column in compiled.insert_prefetch}
    if bind.key in defaults:
        default = defaults[bind.key]
        if default is None or not default.is_scalar:
            return None
        constant = default.arg
    elif bind.required or bind.callable is not None:
        return None
    if convert is None:
        return Value(None, constant, is_list=bind.expanding)
    return Value(
        None, [convert(each) for each in constant] if bind.expanding else convert(constant), None, bind.expanding
    )


def shape(statement: Statement, dialect: Dialect) -> Shape:
    """Return the shape of the statement's rows."""
    columns = list(statement.exported_columns)
    if not columns:
        return Shape(None, [])
    names = tuple(getattr(column, "name", f"_{place}") for place, column in enumerate(columns))
    properties = {name: property(itemgetter(place)) for place, name in reversed([*enumerate(names)])}
    row = type("_RowOfStatement", (Row,), {"__slots__": (), "names": names, **properties})
    processors = (column.type.dialect_impl(dialect).result_processor(dialect, _DOUBLE) for column in columns)
    return Shape(row, [(place, convert) for place, convert in enumerate(processors) if convert is not None])
