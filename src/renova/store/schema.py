"""What all tables share: the metadata, and the column types of stored times and documents."""

from typing import Any

import msgspec
from sqlalchemy import MetaData, Text
from sqlalchemy.types import TypeDecorator

metadata = MetaData()

Stamp = Text  # a time as `model.clock.stamp` writes it: text order is time order on every database


class Document(TypeDecorator[Any]):
    """A typed document in one column, as JSON text: written and read as the given type."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.kind = kind
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(kind).decode

    def process_bind_param(self, value: Any, dialect: Any) -> str | None:  # noqa: ARG002
        return None if value is None else self._encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Any) -> Any:  # noqa: ARG002
        return None if value is None else self._decode(value)
