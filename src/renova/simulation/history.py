"""What happened in a simulated run, readably: when, to which part, what; the digest is the same when it is replayed.

The newest lines are kept for whoever has to understand a failure; the digest is of all of them. Parts of the product
tell the history by their own logs (`listening`); the world and the workload call `note`.
"""

import hashlib
import re
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import structlog

from renova.model.errors import CloudError
from renova.simulation.processes import current

KEPT = 40_000  # lines
_UNTOLD = ("event", "level", "exc_info")

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_listening: "list[History]" = []  # no context variable: processes of the simulation have contexts of their own


class History:
    """Lines of a run. `now` gives its virtual time in seconds."""

    def __init__(self, now: Callable[[], float], kept: int = KEPT) -> None:
        self._now = now
        self._lines: deque[str] = deque(maxlen=kept)
        self._digest = hashlib.blake2b(digest_size=12)
        self._names: dict[str, str] = {}  # short names of ids
        self.count = 0
        self.alarm: Callable[[str], None] = lambda _what: None  # told of errors that nobody planned

    def call(self, thing: str, name: str) -> None:
        """Have the id shown by this name from now on."""
        self._names[thing] = name

    def name(self, thing: str) -> str:
        return self._names.get(thing, thing)

    def with_names(self, text: str) -> str:
        """Return the text with names in the places of ids."""
        return _ID.sub(lambda found: self.name(found[0]), text)

    def note(self, who: str, event: str, /, **fields: Any) -> None:
        """Write a line."""
        shown = "".join(f" {name}={self._shown(value)}" for name, value in fields.items() if value is not None)
        line = f"{self._now():9.3f}  {who:<14} {event}{shown}"
        self._digest.update(line.encode())
        self._lines.append(line)
        self.count += 1

    def _shown(self, value: Any) -> str:
        if isinstance(value, str):
            if value in self._names:
                return self._names[value]
            return value if value and " " not in value else repr(value)
        if isinstance(value, float):
            return f"{value:g}"
        if isinstance(value, tuple | list):
            return f"[{', '.join(self._shown(item) for item in value)}]"
        return str(value)

    @property
    def digest(self) -> str:
        """A hash of all lines so far."""
        return self._digest.hexdigest()

    def newest(self, count: int = KEPT) -> list[str]:
        """Return the newest lines, the oldest of them first."""
        return list(islice(self._lines, max(len(self._lines) - count, 0), None))

    def hear(self, event: MutableMapping[str, Any]) -> None:
        """Write down what a part logs."""
        # Sorted: structlog merges what is bound by context in the order of a set.
        fields = {name: event[name] for name in sorted(event) if name not in _UNTOLD}
        error = _error(event.get("exc_info"))
        if error is not None:
            fields["error"] = _chain(error)
        level = event.get("level", "info")
        mark = "" if level in ("info", "debug") else f"{level.upper()}: "
        process = current()
        self.note(process.name if process else "-", mark + str(event["event"]), **fields)
        if error is not None and not isinstance(error, CloudError | TimeoutError):
            self.alarm(f"{event['event']}: {fields['error']}")


def _error(told: Any) -> BaseException | None:
    """Return the error that a log call tells."""
    if told is True:
        return sys.exc_info()[1]
    found = told[1] if isinstance(told, tuple) else told
    return found if isinstance(found, BaseException) else None


def _chain(error: BaseException | None) -> str:
    """Return the error in a line: its chain, and where each was raised."""
    chain = []
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
        chain.append(f"{type(error).__name__}: {error}{place}")
        error = error.__cause__
    return " <- ".join(chain)


def _to_history(_logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for history in _listening:
        history.hear({**event, "level": method})
    raise structlog.DropEvent


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Have all logs go into the histories that listen (`listening`), and nowhere else."""
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _to_history],
        wrapper_class=structlog.make_filtering_bound_logger(20),  # info
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def listening(history: History) -> Iterator[None]:
    """Have the history hear what is logged."""
    _listening.append(history)
    try:
        yield
    finally:
        _listening.remove(history)
