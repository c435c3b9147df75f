"""Duties over HTTP: what they found the last time, and having one done now. For administrators only."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from renova.api.app import build
from renova.api.dispatch import Dispatcher
from renova.api.hosts import service
from renova.api.policy import Policy
from renova.engine.executor import Executor
from renova.model.ids import ExecutorId, ServerId
from renova.operations.rounds import Duty, Rounds, Tally
from tests.api.compute.compute_cloud import FixedIdentity
from tests.api.hosts.test_hosts import HostsApi
from tests.api.service_cloud import HandClock, make_cloud
from tests.databases import open_empty

NEVER = {
    "name": "orphans",
    "every_s": 600.0,
    "rounds": 0,
    "began_at": None,
    "took_s": 0.0,
    "looked": 0,
    "mended": 0,
    "failed": 0,
    "findings": [],
    "error": None,
    "done_by": None,
    "doing": None,
}


async def look(tally: Tally) -> None:
    tally.looked = 4
    tally.find("guest of no known server, running", mended=False, host="host1", server=ServerId("stray"))


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[HostsApi]:
    clock = HandClock()
    database = open_empty(clock)
    rounds = Rounds(clock, {"orphans": Duty(look, 600.0)}, database, Executor(ExecutorId("me")), "controller1")
    cloud = replace(make_cloud(tmp_path, database, clock), identity=FixedIdentity(), rounds=rounds)
    app = build([service.service(cloud)], Dispatcher(cloud, Policy(service.POLICY)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud.example") as client:
        found = HostsApi(cloud, client, clock)
        for who in ("admin", "demo"):
            await found.sign_in(who)
        yield found
    database.close()


async def test_a_duty_is_done_when_asked_and_remembers_what_it_found(api: HostsApi) -> None:
    assert (await api.ask("admin", "GET /renova/v1/duties")).json() == {"duties": [NEVER]}
    done = (await api.ask("admin", "POST /renova/v1/duties/orphans")).json()["duty"]
    assert (done["rounds"], done["looked"], done["mended"], done["failed"]) == (1, 4, 0, 0)
    finding = {"what": "guest of no known server, running", "mended": False, "host": "host1", "server": "stray"}
    assert done["findings"] == [finding]
    assert (await api.ask("admin", "GET /renova/v1/duties")).json() == {"duties": [done]}


async def test_a_duty_that_there_is_not_is_named_with_those_there_are(api: HostsApi) -> None:
    answer = await api.ask("admin", "POST /renova/v1/duties/none")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "There is no duty none. There are: orphans."


@pytest.mark.parametrize("request_line", ["GET /renova/v1/duties", "POST /renova/v1/duties/orphans"])
async def test_duties_are_for_administrators(api: HostsApi, request_line: str) -> None:
    assert (await api.ask("demo", request_line)).status_code == 403
    assert (await api.ask("admin", "GET /renova/v1/duties")).json() == {"duties": [NEVER]}
