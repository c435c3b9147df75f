"""What a host knows of controllers outlives its processes, and no damage to it keeps one from starting."""

from pathlib import Path

import pytest
import structlog

from renova.guard.page import FilePage, Page
from renova.uplink.controllers import FileBook


@pytest.mark.parametrize("content", [b"", b'["contr', b'["\xff"]', b"[" * 100_000])
async def test_a_file_that_is_damaged_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "controllers.json").write_bytes(content)
    (tmp_path / "guard.json").write_bytes(content)
    with structlog.testing.capture_logs():
        assert await FileBook(tmp_path).read() == ()
    assert await FilePage(tmp_path).read() == Page()
