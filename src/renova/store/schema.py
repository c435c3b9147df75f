"""What all tables share: the metadata, and the column types of stored times and documents."""

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Dialect, MetaData, Text
from sqlalchemy.types import UserDefinedType

metadata = MetaData()

Stamp = Text  # a time as `model.clock.stamp` writes it: text order is time order on every database


class Document(UserDefinedType[Any]):
    """A typed document in one column, as JSON text: written and read as the given type."""

    cache_ok = True

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(kind).decode

    def get_col_spec(self, **_options: Any) -> str:
        return "TEXT"

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:  # noqa: ARG002
        encode = self._encode
        return lambda value: None if value is None else encode(value).decode()

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], Any]:  # noqa: ARG002
        decode = self._decode
        return lambda stored: None if stored is None else decode(stored)
