"""The Compute API for this directory's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .compute_cloud import ComputeApi, running


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ComputeApi]:
    async with running(tmp_path) as found:
        yield found
