"""Renova's own API: how hosts join, and why each stands where it does. For administrators only."""

import base64
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from renova.api import root
from renova.api.app import build
from renova.api.dispatch import Dispatcher
from renova.api.hosts import service
from renova.api.policy import Policy
from renova.engine.executor import Executor
from renova.hosts.agents import Agents
from renova.hosts.registration import enrol, spend_token, welcome
from renova.hosts.registry import Hosts
from renova.model.errors import Invalid, NotNow
from renova.model.host import Role
from renova.model.ids import ExecutorId, ProjectId, ServerId, UserId, VolumeId
from renova.model.storage import Blank
from renova.operations.measures import Measures
from renova.operations.parts.fleet import Fleet
from renova.power import NoPower
from renova.power.kinds import every_kind
from renova.power.seals import Seals
from renova.power.wired import WiredPower
from renova.store import hosts, migrations, rights, volumes
from renova.store.database import Tx
from renova.store.volumes import StoredVolume
from renova.wire.enrolment import JoinToken
from tests.api.compute.compute_cloud import FixedIdentity
from tests.api.service_cloud import Api, HandClock, Like, make_cloud
from tests.databases import open_empty
from tests.unit.hosts.hellos import TIMES, a_hello
from tests.unit.store.tables import A, B, prove

POLICY = Policy(service.POLICY)  # made once: it takes as long as many a test
TIME = Like(r"\d{4}-\d\d-\d\dT.*")
SERVER = ServerId("5e000000-0000-4000-8000-000000000001")


class HostsApi(Api):
    """Signs in by name."""

    async def sign_in(self, who: str, password: str | None = None, project: str | None = None) -> str:
        self.tokens[who] = who
        return who


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[HostsApi]:
    clock = HandClock()
    database = open_empty(clock)
    cloud = make_cloud(tmp_path, database, clock)
    me = Executor(ExecutorId("tests"))
    me.leased_until, me.steady_since = float("inf"), 0.0
    registry = Hosts(database=database, clock=clock, times=TIMES, me=me)
    agents = Agents(registry, database, clock, me)
    agents.join_token = lambda secret: base64.urlsafe_b64encode(
        msgspec.json.encode(JoinToken(controllers=("192.0.2.1:8775",), ca="CA", secret=secret))
    ).decode()
    fields = {name: getattr(cloud, name) for name in cloud.__slots__}
    fleet = Fleet(clock, registry.up)
    power = WiredPower(database, Seals(tmp_path / "power-keys"), every_kind(), NoPower())
    own = {"identity": FixedIdentity(), "hosts": registry, "agents": agents, "fleet": fleet, "power": power}
    own |= {"measures": Measures(), "rehearsing": ThreadPoolExecutor(2)}
    cloud = type(cloud)(**fields | own)
    app = build([service.service(cloud), root.service(cloud)], Dispatcher(cloud, POLICY))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud.example") as client:
        found = HostsApi(cloud, client, clock)
        await found.sign_in("admin")
        await found.sign_in("demo")
        yield found
    database.close()


async def have_hosts(api: HostsApi) -> None:
    """Have host A dead and owing a clean-up, and host B enrolled."""

    def work(tx: Tx) -> None:
        for host in (A, B):
            enrol(tx, host, f"name-of-{host}", "certificate")
        welcome(tx, A, a_hello(A), TIMES)
        prove(tx, A)
        hosts.change(tx, A, disabled=True, forced_down=True)
        migration = migrations.add(
            tx,
            uuid="m",
            server=SERVER,
            type="evacuation",
            status="done",
            source=A,
            source_name="a",
            user="",
            project="",
        )
        rights.owe(tx, A, SERVER, 2, migration)

    await api.cloud.database.transact(work)


ROWS: list[Any] = [
    (None, "GET /hosts", None, 401, None),
    ("demo", "GET /hosts", None, 403, None),
    ("demo", "POST /join-tokens", {}, 403, None),
    ("admin", "DELETE /hosts", None, 405, None),
    ("admin", "GET /nothing", None, 404, None),
    (
        "admin",
        "GET /hosts",
        None,
        200,
        {
            "hosts": [
                {
                    "id": A,
                    "name": "name-of-host-a",
                    "state": "dead",
                    "up": False,
                    "connected": False,
                    "forced_down": True,
                    "disabled": True,
                    "address": "10.1.0.1",
                    "accelerator": "simulated",
                    "silent_s": None,
                    "home": None,
                    "epoch": 2,
                    "guard": "none",
                    "proof": {"kind": "power_off", "epoch": 2, "readings": {}, "who": "a test", "created_at": TIME},
                    "owes": [{"server": SERVER, "below": 2}],
                    "not_cleaned": 1,
                    "last_seen": TIME,
                },
                {
                    "id": B,
                    "name": "name-of-host-b",
                    "state": "enrolled",
                    "up": False,
                    "connected": False,
                    "accelerator": None,
                    "epoch": None,
                    "guard": None,
                    "proof": None,
                    "owes": [],
                    "not_cleaned": 0,
                    "last_seen": None,
                },
            ]
        },
    ),
]


async def test_administrators_see_where_each_host_stands_and_why(api: HostsApi) -> None:
    await have_hosts(api)
    await api.play("/renova/v1", ROWS)


async def test_how_long_a_host_is_silent_is_what_this_controller_observed(api: HostsApi) -> None:
    await have_hosts(api)
    await api.cloud.hosts.leases.look()
    await api.clock.sleep(7.26)
    answer = await api.ask("admin", "GET /renova/v1/hosts")
    assert [host["silent_s"] for host in answer.json()["hosts"]] == [7.3, None]


def secrets_in(answer: httpx.Response) -> list[str]:
    tokens = answer.json()["join_tokens"]
    return [msgspec.json.decode(base64.urlsafe_b64decode(token), type=JoinToken).secret for token in tokens]


@pytest.mark.parametrize(("body", "count"), [(None, 1), ({}, 1), ({"count": 3}, 3), ({"hours": 0.5}, 1)])
async def test_join_tokens_are_good_for_one_host_each(api: HostsApi, body: Any, count: int) -> None:
    answer = await api.ask("admin", "POST /renova/v1/join-tokens", body)
    assert answer.status_code == 201
    secrets = secrets_in(answer)
    assert len(set(secrets)) == count
    for number, secret in enumerate(secrets):
        await api.cloud.database.transact(partial(spend_token, secret=secret, name=f"host{number}"))
        with pytest.raises(Invalid):
            await api.cloud.database.transact(partial(spend_token, secret=secret, name="another"))


async def test_a_controller_that_cannot_say_where_hosts_join_keeps_no_token(api: HostsApi) -> None:
    def closed(_secret: str) -> str:
        raise NotNow("this controller has no agents' port open yet")

    api.cloud.agents.join_token = closed
    assert (await api.ask("admin", "POST /renova/v1/join-tokens")).status_code == 503
    assert await api.cloud.database.read(lambda tx: tx.execute(hosts.join_tokens.select()).all()) == []


async def test_join_tokens_expire_when_it_was_said(api: HostsApi) -> None:
    answer = await api.ask("admin", "POST /renova/v1/join-tokens", {"count": 2, "hours": 2})
    first, second = secrets_in(answer)
    await api.clock.sleep(2 * 3600 - 1)
    await api.cloud.database.transact(lambda tx: spend_token(tx, first, "host1"))
    await api.clock.sleep(2)
    with pytest.raises(Invalid, match="expired"):
        await api.cloud.database.transact(lambda tx: spend_token(tx, second, "host2"))


async def test_a_secret_is_shown_once_and_kept_nowhere(api: HostsApi) -> None:
    (secret,) = secrets_in(await api.ask("admin", "POST /renova/v1/join-tokens"))
    kept = await api.cloud.database.read(lambda tx: tx.execute(hosts.join_tokens.select()).all())
    assert len(kept) == 1
    assert secret not in str(kept)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"count": 0}, "count"),
        ({"count": 10_001}, "count"),
        ({"count": "3"}, "count"),
        ({"hours": 0}, "hours"),
        ({"hours": -1}, "hours"),
        ({"hours": 1e9}, "hours"),
        ({"days": 1}, "days"),
        ([], "array"),
    ],
)
async def test_a_wish_that_cannot_be_is_refused_by_its_name(api: HostsApi, body: Any, field: str) -> None:
    answer = await api.ask("admin", "POST /renova/v1/join-tokens", body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], field in error["message"]) == (400, True)
    assert await api.cloud.database.read(lambda tx: tx.execute(hosts.join_tokens.select()).all()) == []


async def test_before_the_agents_port_is_open_there_are_no_tokens(api: HostsApi) -> None:
    fresh = Agents(api.cloud.hosts, api.cloud.database, api.clock, Executor(ExecutorId("fresh")))
    api.cloud.agents.join_token = fresh.join_token
    answer = await api.ask("admin", "POST /renova/v1/join-tokens")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert "no agents' port open yet" in answer.json()["error"]["message"]


async def test_a_host_that_is_up_is_said_to_be(api: HostsApi) -> None:
    def work(tx: Tx) -> Any:
        enrol(tx, A, "name-of-host-a", "certificate")
        return welcome(tx, A, a_hello(A), TIMES)

    place = await api.cloud.database.transact(work)
    api.cloud.hosts.leases.begin(place.lease)
    (host,) = (await api.ask("admin", "GET /renova/v1/hosts")).json()["hosts"]
    assert (host["state"], host["up"], host["silent_s"]) == ("up", True, 0.0)
    await api.cloud.database.transact(lambda tx: hosts.change(tx, A, forced_down=True))
    (host,) = (await api.ask("admin", "GET /renova/v1/hosts")).json()["hosts"]
    assert not host["up"]


async def test_a_storage_host_is_removed_once_it_holds_nothing(api: HostsApi) -> None:
    def work(tx: Tx) -> None:
        for host in (A, B):
            enrol(tx, host, f"name-of-{host}", "certificate")
        hosts.change(tx, A, role=Role.STORAGE)
        volumes.add(
            tx,
            StoredVolume(
                id=VolumeId("v"),
                project=ProjectId("p"),
                user=UserId("u"),
                name="",
                size_gb=1,
                status="available",
                zone="nova",
                host=A,
                type="t",
                source=Blank(),
                created_at=tx.now,
                updated_at=tx.now,
            ),
        )

    await api.cloud.database.transact(work)
    assert (await api.ask("demo", f"DELETE /renova/v1/hosts/name-of-{A}")).status_code == 403
    assert (await api.ask("admin", f"DELETE /renova/v1/hosts/name-of-{B}")).status_code == 409
    assert (await api.ask("admin", f"DELETE /renova/v1/hosts/name-of-{A}")).status_code == 409
    await api.cloud.database.transact(lambda tx: volumes.remove(tx, VolumeId("v")))
    assert (await api.ask("admin", f"DELETE /renova/v1/hosts/name-of-{A}")).status_code == 204
    assert (await api.ask("admin", f"GET /renova/v1/hosts/name-of-{A}")).status_code == 404
