"""An Instance HA API on a real database, with two hosts that only exist."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from renova.api.app import build
from renova.api.dispatch import Dispatcher
from renova.api.ha import service
from renova.api.policy import BASE, Policy
from renova.engine.executor import Executor
from renova.hosts.registry import Hosts
from renova.model.host import Host
from renova.model.ids import ExecutorId
from renova.operations.parts.fleet import Fleet
from renova.store import hosts
from renova.store.database import Tx
from tests.api.compute.compute_cloud import FixedIdentity
from tests.api.service_cloud import Api, HandClock, make_cloud
from tests.databases import open_empty
from tests.unit.hosts.hellos import TIMES
from tests.unit.store.tables import A, B, add_host

POLICY = Policy(BASE | service.POLICY)  # made once: it takes as long as many a test
BASE_PATH = "/instance-ha/v1"
ONE, TWO = "name-of-host-a", "name-of-host-b"
SEGMENT = {"name": "rack-1", "recovery_method": "auto", "service_type": "COMPUTE"}
A_HOST = {"name": ONE, "type": "COMPUTE", "control_attributes": "SSH"}


class HaApi(Api):
    """Signs in by name, and asks for the newest version unless told otherwise."""

    async def sign_in(self, who: str, password: str | None = None, project: str | None = None) -> str:
        self.tokens[who] = who
        return who

    async def asked(
        self, method: str, path: str, body: object = None, who: str = "admin", version: str = "1.3"
    ) -> tuple[int, Any]:
        headers = {"OpenStack-API-Version": f"instance-ha {version}"}
        answer = await self.ask(who, f"{method} {BASE_PATH}{path}", body, headers)
        return answer.status_code, answer.json() if answer.content else None

    async def have_segment(self, **changes: object) -> dict[str, Any]:
        status, made = await self.asked("POST", "/segments", {"segment": SEGMENT | changes})
        assert status == 201, made
        found: dict[str, Any] = made["segment"]
        return found

    async def have_host(self, segment: str, **changes: object) -> dict[str, Any]:
        status, made = await self.asked("POST", f"/segments/{segment}/hosts", {"host": A_HOST | changes})
        assert status == 201, made
        found: dict[str, Any] = made["host"]
        return found

    async def host(self, name: str = ONE) -> Host:
        """Return the host's row."""
        found = await self.cloud.database.read(lambda tx: hosts.by_name(tx, name))
        assert found is not None
        return found


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[HaApi]:
    clock = HandClock()
    database = open_empty(clock)
    cloud = make_cloud(tmp_path, database, clock)
    registry = Hosts(database=database, clock=clock, times=TIMES, me=Executor(ExecutorId("tests")))
    fields = {name: getattr(cloud, name) for name in cloud.__slots__}
    own = {"identity": FixedIdentity(), "hosts": registry, "fleet": Fleet(clock, registry.up)}
    cloud = type(cloud)(**fields | own)

    def have_hosts(tx: Tx) -> None:
        for host in (A, B):
            add_host(tx, host)

    await database.transact(have_hosts)
    app = build(service.services_of(cloud), Dispatcher(cloud, POLICY))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud.example") as client:
        yield HaApi(cloud, client, clock)
    database.close()
