"""What all tables share: the metadata, the types of stored numbers, times and documents, and indexes of some rows."""

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import BigInteger, ColumnElement, Dialect, Integer, MetaData, String, Text, TextClause
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import UserDefinedType

metadata = MetaData()

Number = BigInteger().with_variant(Integer(), "sqlite")  # 64 bits everywhere; SQLite counts only what it calls INTEGER
Stamp = Text  # a time as `model.clock.stamp` writes it: text order is time order on every database


@compiles(String, "postgresql")
def _text(_type: String, _compiler: Any, **_options: Any) -> str:
    """Call it TEXT: lengths are for readers, SQLite does not enforce them either; the API refuses what is too long."""
    return "TEXT"


def only_where(condition: ColumnElement[bool] | TextClause) -> dict[str, Any]:
    """Return the options of an index that holds only rows which meet the condition."""
    return {"sqlite_where": condition, "postgresql_where": condition}


class Document(UserDefinedType[Any]):
    """A typed document in one column, as JSON text: written and read as the given type."""

    cache_ok = True

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(kind).decode

    def get_col_spec(self, **_options: Any) -> str:
        return "TEXT"

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:
        encode = self._encode
        return lambda value: None if value is None else encode(value).decode()

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], Any]:
        decode = self._decode
        return lambda stored: None if stored is None else decode(stored)
