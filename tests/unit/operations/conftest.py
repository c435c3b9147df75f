"""A small cloud on tables in memory."""

from collections.abc import Iterator

import pytest
import structlog

from tests.unit.store.tables import Tables

from .small_cloud import SmallCloud

_tables = Tables()


@pytest.fixture
def small() -> Iterator[SmallCloud]:
    with structlog.testing.capture_logs():
        yield SmallCloud(_tables)
    _tables.forget()
