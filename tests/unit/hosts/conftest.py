"""Tables in memory."""

from collections.abc import Iterator

import pytest

from tests.unit.store.tables import Tables

_tables = Tables()


@pytest.fixture
def tables() -> Iterator[Tables]:
    yield _tables
    _tables.forget()
