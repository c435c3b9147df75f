"""The log of what is meant to fail is kept, not shown: its tracebacks would take longer than the tests."""

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
import structlog

from .tables import Tables


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as events:
        yield events


_tables = Tables()


@pytest.fixture
def tables() -> Iterator[Tables]:
    yield _tables
    _tables.forget()
