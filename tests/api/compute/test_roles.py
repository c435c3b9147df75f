"""Readers read, members act, administrators see to the rest: Nova's rules, which an operator's file may change."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from renova.api.app import build
from renova.api.compute import service as compute
from renova.api.dispatch import Dispatcher
from renova.api.policy import Policy

from .compute_cloud import IMAGE, ComputeApi

NEW: dict[str, Any] = {"server": {"name": "vm", "imageRef": IMAGE, "flavorRef": "small"}}


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        ("POST /servers", NEW),
        ("PUT /servers/{server}", {"server": {"name": "x"}}),
        ("DELETE /servers/{server}", None),
        ("POST /servers/{server}/action", {"reboot": {"type": "HARD"}}),
        ("POST /servers/{server}/action", {"rebuild": {"imageRef": IMAGE}}),
        ("POST /servers/{server}/action", {"os-getConsoleOutput": {}}),
        ("POST /servers/{server}/metadata", {"metadata": {}}),
        ("PUT /servers/{server}/tags", {"tags": []}),
    ],
)
async def test_readers_change_nothing(api: ComputeApi, request_: str, body: Any) -> None:
    await api.have_flavor()
    server = await api.have_server("reader")
    api.kept["server"] = server.id
    assert "Policy doesn't allow" in await api.refused("reader", request_, 403, body, "2.26")
    assert api.operations.started == []
    assert (await api.got("reader", f"GET /servers/{server.id}"))["server"]["name"] == "vm"


async def test_an_operators_file_counts(api: ComputeApi, tmp_path: Path) -> None:
    rules = tmp_path / "policy.yaml"
    rules.write_text(
        '"os_compute_api:os-extended-server-attributes": "@"\n"os_compute_api:servers:show:host_status": "@"\n'
        '"os_compute_api:servers:reboot": "rule:admin_api"\n'
    )
    host = await api.have_host("compute1")
    server = await api.have_server(host=host, host_name="compute1")
    app = build(compute.services(api.cloud), Dispatcher(api.cloud, Policy(compute.POLICY, str(rules))))
    api.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud.example")
    shown = (await api.got("demo", f"GET /servers/{server.id}", version="2.16"))["server"]
    assert (shown["OS-EXT-SRV-ATTR:host"], shown["host_status"]) == ("compute1", "UP")
    await api.refused("demo", f"POST /servers/{server.id}/action", 403, {"reboot": {"type": "HARD"}})
    await api.client.aclose()
