"""Pages of long lists: sorted by any columns, going on after an entry that the last page ended with."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Boolean, Column, ColumnElement, Integer, and_, cast, false, or_, true


class Sort(NamedTuple):
    """One column to sort by; the last of several must be unique, so that the order is total."""

    column: Column[Any]
    descending: bool = False

    @property
    def clause(self) -> ColumnElement[Any]:
        # Said, because databases differ in where nulls go: here they are less than everything.
        return self.column.desc().nulls_last() if self.descending else self.column.asc().nulls_first()


def after(order: Sequence[Sort], last: Mapping[str, Any]) -> ColumnElement[bool]:
    """Return the condition for what comes after the entry with these values (by column name) in this order."""
    alternatives: list[ColumnElement[bool]] = []
    same: list[ColumnElement[bool]] = []
    for column, descending in order:
        value = last[column.name]
        alternatives.append(and_(*same, _beyond(column, value, descending)))
        same.append(column.is_(None) if value is None else column == value)
    return and_(_bound(order[0], last), or_(*alternatives))


def _beyond(column: Column[Any], value: Any, descending: bool) -> ColumnElement[bool]:
    if value is None:
        return false() if descending else column.is_not(None)
    ordered, value = _ordered(column, value)
    beyond: ColumnElement[bool] = ordered < value if descending else ordered > value
    return or_(beyond, column.is_(None)) if descending and column.nullable else beyond


def _bound(first: Sort, last: Mapping[str, Any]) -> ColumnElement[bool]:
    """Return what follows from the rest anyway, said so that an index leads straight to the page."""
    if first.column.nullable:
        return true()
    ordered, value = _ordered(first.column, last[first.column.name])
    bound: ColumnElement[bool] = ordered <= value if first.descending else ordered >= value
    return bound


def _ordered(column: Column[Any], value: Any) -> tuple[ColumnElement[Any], Any]:
    """Return what says of the column's values which is less: of truths, databases sort them but do not compare them."""
    return (cast(column, Integer), int(value)) if isinstance(column.type, Boolean) else (column, value)
