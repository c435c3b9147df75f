"""Logs: one line of JSON an event on standard error, with operation and server bound by context.

A line is a fixed sentence plus fields. Fields whose names speak of secrets are blanked, however deep they lie
and whoever logs them.

A line that cannot be written is lost, and nothing else: whoever logs goes on, for a process that keeps servers alive
must not end, nor leave anybody waiting, because a disk is full.
"""

import dataclasses
import io
import logging
import sys
import threading
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, BinaryIO, TextIO, cast

import msgspec
import structlog

_stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)

_SECRET = ("password", "admin_pass", "adminpass", "token", "secret", "private_key")


def _blank_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: _blanked(name, value) for name, value in event.items()}


def _blanked(name: object, value: Any) -> Any:
    """Return the value as it may be logged under this name, blanked at any depth."""
    if value is not None and any(word in str(name).lower() for word in _SECRET):
        return "***"
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _blanked(key, inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_blanked("", inner) for inner in value]
    return value


class Enduring(io.RawIOBase):
    """Writes to `file` what that takes, and never raises `OSError`: a disk may be full, or a pipe's reader gone.

    Writes that are refused are counted, and `lost` tells how many, before the next that succeeds. Thread-safe.
    """

    name = "<stderr>"

    def __init__(self, file: BinaryIO | io.RawIOBase, lost: Callable[[int], bytes]) -> None:
        self._file = file
        self._lost = lost
        self._writing = threading.Lock()
        self._refused = 0
        self._torn = False  # the last line that was written has no end

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        with self._writing:
            try:
                if self._torn:
                    self._put(b"\n")
                if self._refused:
                    self._put(self._lost(self._refused))
                    self._refused = 0
                self._put(bytes(content))
            except OSError:
                self._refused += 1
        return len(content)

    def _put(self, line: bytes) -> None:
        rest = line
        while rest:
            taken = self._file.write(rest)  # a disk that fills up takes a part, a pipe that may not block takes None
            if not taken:
                raise BlockingIOError
            rest = rest[taken:]
            self._torn = rest != b"" or not line.endswith(b"\n")


def _enduring(file: Any, process: str) -> TextIO:
    """Return the stream to log to instead of this one, each line of which is written at once, or not at all."""
    if not hasattr(file, "buffer"):
        return cast("TextIO", file)  # text in memory, which no disk refuses

    def lost(lines: int) -> bytes:
        event = {"event": "log lines lost", "lines": lines, "process": process, "level": "error"}
        return f"{structlog.processors.JSONRenderer()(None, '', _stamp(None, '', event))!s}\n".encode()

    # Beneath its buffer, which would keep what was refused, and refuse for good when it is full.
    raw = getattr(file.buffer, "raw", file.buffer)
    return io.TextIOWrapper(Enduring(raw, lost), encoding="utf-8", errors="backslashreplace", write_through=True)


def set_up(level: str = "info", *, process: str) -> None:
    """Send this process's log to standard error; `process` stands in every line."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    stream = _enduring(sys.stderr or sys.stdout, process)  # where it was closed there is none
    logging.basicConfig(level=max(number, logging.WARNING), stream=stream, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            lambda _logger, _method, event: {**event, "process": process},  # whichever thread speaks
            structlog.processors.add_log_level,
            _stamp,
            structlog.processors.format_exc_info,
            _blank_secrets,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),  # a line in one piece
        cache_logger_on_first_use=True,
    )
