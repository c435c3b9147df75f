"""Logs: one line of JSON an event on standard error, with operation and server bound by context.

A line is a fixed sentence plus fields. Fields whose names speak of secrets are blanked, however deep they lie
and whoever logs them.
"""

import dataclasses
import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import msgspec
import structlog

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


def set_up(level: str = "info", *, process: str) -> None:
    """Send this process's log to standard error; `process` stands in every line."""
    number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    logging.basicConfig(
        level=max(number, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            lambda _logger, _method, event: {**event, "process": process},  # whichever thread speaks
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _blank_secrets,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
