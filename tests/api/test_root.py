"""What a client reads before it has a token."""

from pathlib import Path

import pytest

from tests.api.service_cloud import running


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/", 200, '"http://cloud.example/image"'),
        ("/identity", 300, '"http://cloud.example/identity/v3/"'),
        ("/identity/v3", 200, '"http://cloud.example/identity/v3/"'),
        ("/identity/v3/", 200, '"id":"v3.14"'),
        ("/image", 300, '"http://cloud.example/image/v2/"'),
        ("/image/versions", 200, '"id":"v2.9","status":"CURRENT"'),
        ("/network", 200, '"http://cloud.example/network/v2.0/"'),
        ("/placement", 200, '"min_version":"1.0"'),
    ],
)
async def test_versions_are_told_without_a_token(tmp_path: Path, path: str, status: int, expected: str) -> None:
    async with running(tmp_path) as api:
        answer = await api.ask(None, f"GET {path}")
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
        assert expected in answer.text


async def test_the_rest_needs_a_token(tmp_path: Path) -> None:
    async with running(tmp_path) as api:
        for path in ("/else", "/image/v2/images", "/network/v2.0/networks", "/placement/resource_providers"):
            answer = await api.ask(None, f"GET {path}")
            assert answer.status_code == 401
            assert "Keystone" in answer.headers["www-authenticate"]
