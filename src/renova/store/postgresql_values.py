"""How values are written for PostgreSQL: as text, but for bytes."""

from collections.abc import Callable
from typing import Any

import psycopg

from renova.model.errors import Invalid
from renova.store.session import UNKEPT


def _text(found: str) -> bytes:
    try:
        encoded = found.encode()
    except UnicodeEncodeError as error:
        raise Invalid(UNKEPT) from error
    if b"\0" in encoded:  # it would end the text at the server
        raise Invalid(UNKEPT)
    return encoded


def _array(found: "list[Any] | tuple[Any, ...]") -> bytes:
    def element(each: Any) -> bytes:
        if isinstance(each, str):
            return b'"%s"' % _text(each).replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        return str(int(each)).encode()

    return b"{%s}" % b",".join(map(element, found))


def binary(found: "bytes | psycopg.Binary") -> bytes:
    return bytes(found.obj) if isinstance(found, psycopg.Binary) else found


CONVERTERS: dict[type, Callable[[Any], bytes | None]] = {
    type(None): lambda _: None,
    bool: lambda found: b"t" if found else b"f",
    int: lambda found: b"%d" % found,
    float: lambda found: repr(found).encode(),
    str: _text,
    bytes: binary,
    psycopg.Binary: binary,
    list: _array,
    tuple: _array,
}


def converter_of(found: Any) -> Callable[[Any], bytes | None]:
    """Return how a value of a derived type is sent: enumerations are text or numbers."""
    for kind in (bool, int, float, str, bytes):
        if isinstance(found, kind):
            converter = CONVERTERS[type(found)] = CONVERTERS[kind]
            return converter
    return _array
