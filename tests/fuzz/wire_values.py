"""Messages of the wire as nobody should send them, made from their types: a new message is fuzzed without a word here.

`Messages` draws everything from one `Random`: a seeded one in campaigns, one of hypothesis in tests. What it makes is
plain data (dicts, lists, numbers), so that it can say what the types forbid; `encoded` makes a frame of it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any, get_args

import msgspec
from msgspec import inspect

NUMBERS = (0, 1, 2, 3, 5, 100, -1, 2**31 - 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63))
FRACTIONS = (0.0, 1.0, -1.0, 1e-9, 20.0, 1e308, float("inf"), float("-inf"), float("nan"))
TEXTS = ("", "x", "../../etc/passwd", "\x00", "ü" * 40, "'; drop table hosts; --", "a b", "%s{}", "x" * 300, "\nx")
BLOBS = (b"", b"x", bytes(1000))
DEEP = 200  # levels of nesting


@dataclass
class Known:
    """What the one who lies has come to know, by what each is called: it lies better with that."""

    texts: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    fields: dict[str, list[Any]] = field(default_factory=dict)  # what fields of these names hold when they are good


class Messages:
    """Makes messages of the given union."""

    def __init__(self, union: object, random: Random, known: Known) -> None:
        self.kinds: tuple[type[msgspec.Struct], ...] = get_args(union)
        self._random = random
        self._known = known

    def one(self, kind: type[msgspec.Struct] | None = None) -> dict[str, Any]:
        """Return a message that has the shape of its kind, and says anything."""
        made = self._shaped(_type_info(kind or self._random.choice(self.kinds)))
        assert isinstance(made, dict)
        return made

    def spoilt(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return the message with one thing in it that is not as its type wants it, most likely."""
        spoilt = json.loads(json.dumps(message, default=lambda _: "")) if self._random.random() < 0.2 else dict(message)
        names = [name for name in spoilt if name != "kind"] or ["kind"]
        name = self._random.choice(names)
        match self._random.randrange(5):
            case 0:
                del spoilt[name]
            case 1:
                spoilt[name] = self._junk()
            case 2:
                spoilt["kind"] = self._junk()
            case 3:
                spoilt[name] = [spoilt[name]]
            case _:
                spoilt[self._random.choice(TEXTS)] = self._junk()
        return spoilt

    def frame(self, message: dict[str, Any]) -> bytes:
        """Return the message as a frame; now and then as one that is broken."""
        whole = encoded(message)
        match self._random.randrange(12):
            case 0:
                return whole[: self._random.randrange(len(whole))]
            case 1:
                at = self._random.randrange(len(whole))
                return whole[:at] + bytes([self._random.randrange(256)]) + whole[at + 1 :]
            case 2:
                return whole + whole
            case 3:
                return json.dumps(message, default=str).encode()
            case 4:
                return b"\x91" * DEEP * self._random.randrange(1, 100)
            case 5:
                return bytes(self._random.randrange(256) for _ in range(self._random.randrange(40)))
        return whole

    def value(self, kind: inspect.Type) -> Any:
        """Return a value of the type, or now and then of any."""
        return self._junk() if self._random.random() < 0.01 else self._shaped(kind)

    def _shaped(self, kind: inspect.Type) -> Any:
        random = self._random
        match kind:
            case inspect.Metadata():
                return self.value(kind.type)
            case inspect.IntType():
                return random.choice((*NUMBERS, *self._known.numbers, *self._known.numbers))
            case inspect.FloatType():
                return random.choice(FRACTIONS)
            case inspect.StrType():
                return random.choice((*TEXTS, *self._known.texts, *self._known.texts))
            case inspect.BytesType():
                return random.choice(BLOBS)
            case inspect.BoolType():
                return random.random() < 0.5
            case inspect.NoneType():
                return None
            case inspect.LiteralType():
                return random.choice(kind.values)
            case inspect.EnumType():
                return random.choice([member.value for member in kind.cls])
            case inspect.UnionType():
                return self.value(random.choice(kind.types))
            case inspect.VarTupleType() | inspect.ListType():
                return [self.value(kind.item_type) for _ in range(random.choice((0, 1, 1, 2, 3, 30)))]
            case inspect.TupleType():
                return [self.value(each) for each in kind.item_types]
            case inspect.DictType():
                keys = [self.value(kind.key_type) for _ in range(random.choice((0, 1, 3)))]
                return {str(key): self.value(kind.value_type) for key in keys}
            case inspect.StructType():
                made = {each.encode_name: self._field(each) for each in kind.fields if self._says(each)}
                if kind.tag_field is not None:
                    made[kind.tag_field] = kind.tag
                return made
        raise AssertionError(f"nobody has thought of {kind}")

    def _field(self, each: inspect.Field) -> Any:
        good = self._known.fields.get(each.encode_name)
        return self._random.choice(good) if good and self._random.random() < 0.6 else self.value(each.type)

    def _says(self, each: inspect.Field) -> bool:
        return each.required or self._random.random() < 0.6

    def _junk(self) -> Any:
        return self._random.choice((None, True, -1, 2**64 - 1, 1e308, "?", b"?", [], {}, [[[]]], {"kind": "hello"}))


_type_info = cache(inspect.type_info)


def encoded(message: Any) -> bytes:
    """Return the frame of plain data."""
    return msgspec.msgpack.encode(message)


def kinds_never(kinds: Sequence[type[msgspec.Struct]], sent: dict[str, int]) -> list[str]:
    """Name the kinds of message that were never sent: a run that leaves one out shows nothing of it."""
    return [kind.__name__ for kind in kinds if not sent.get(kind.__name__)]
