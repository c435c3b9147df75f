"""The forms of a migration at every microversion, and what is refused before anything is written."""

from typing import Any

import msgspec
import pytest

from renova.model.server import Server, TaskState
from renova.operations.migrate import MigrateServer
from renova.store import hosts, migrations

from .compute_cloud import ComputeApi
from .test_actions import act, refuse, row


async def on_a_host(api: ComputeApi, **values: Any) -> Server:
    host = await api.have_host("compute1")
    await api.have_host("compute2")
    return await api.have_server(**{"host": host, "host_name": "compute1", **values})


@pytest.mark.parametrize(
    ("version", "body", "host"),
    [
        ("2.1", None, None),
        ("2.55", None, None),
        ("2.55", {"host": "compute2"}, None),  # it was not looked at
        ("2.56", None, None),
        ("2.56", {}, None),
        ("2.56", {"host": None}, None),
        ("2.56", {"host": "compute2"}, "compute2"),
        ("2.104", {"host": "compute2"}, "compute2"),
    ],
)
async def test_each_form_means_what_its_microversion_says(
    api: ComputeApi, version: str, body: Any, host: str | None
) -> None:
    server = await on_a_host(api)
    await act(api, server, {"migrate": body}, version, "admin")
    assert (await row(api, server)).task_state is TaskState.RESIZE_PREP
    want = msgspec.json.decode(api.operations.started[-1].want, type=MigrateServer)
    assert (want.host, want.source, want.runs) == (host, server.host, True)
    (found,) = await api.cloud.database.read(migrations.find)
    assert (found.type, found.status, found.destination_name) == ("migration", "accepted", host)
    shown = (await api.got("admin", f"GET /servers/{server.id}", None, version, 200))["server"]
    assert shown["status"] == "RESIZE"


@pytest.mark.parametrize(
    ("version", "who", "body", "status", "says"),
    [
        ("2.56", "demo", None, 403, "os-migrate-server:migrate"),
        ("2.56", "admin", {"host": ""}, 400, "host"),
        ("2.56", "admin", {"host": "a b"}, 400, "host"),
        ("2.56", "admin", {"force": True}, 400, "force"),
        ("2.56", "admin", "compute2", 400, "migrate"),
        ("2.56", "admin", {"host": "mars"}, 400, "mars could not be found"),
        ("2.56", "admin", {"host": "compute1"}, 400, "where the server exists"),
    ],
)
async def test_what_cannot_be_is_refused(
    api: ComputeApi, version: str, who: str, body: Any, status: int, says: str
) -> None:
    server = await on_a_host(api)
    assert says in await refuse(api, server, {"migrate": body}, status, version, who)


async def test_a_server_whose_host_is_down_is_not_moved(api: ComputeApi) -> None:
    server = await on_a_host(api)
    assert server.host is not None
    host = server.host
    await api.cloud.database.transact(lambda tx: hosts.change(tx, host, forced_down=True))
    assert "Evacuate it" in await refuse(api, server, {"migrate": None}, 409, "2.56", "admin")


@pytest.mark.parametrize("body", [{"migrate": None}, {"os-migrateLive": {"host": None, "block_migration": "auto"}}])
async def test_a_server_whose_host_is_silent_is_not_moved_and_nobody_is_told_that_this_is_soon_over(
    api: ComputeApi, body: Any
) -> None:
    host = await api.have_host("compute1", alive=False, live=True)
    server = await api.have_server(host=host, host_name="compute1")
    assert "is not heard" in await refuse(api, server, body, 409, "2.56", "admin")
    assert (await row(api, server)).task_state is None


async def test_a_controller_that_has_just_begun_does_not_know_whose_host_is_silent(api: ComputeApi) -> None:
    host = await api.have_host("compute1", alive=False)
    server = await api.have_server(host=host, host_name="compute1")
    api.hosts.settled = False
    assert "just begun" in await refuse(api, server, {"migrate": None}, 503, "2.56", "admin")


async def test_migrations_are_listed_with_their_type(api: ComputeApi) -> None:
    server = await on_a_host(api)
    await act(api, server, {"migrate": None}, "2.56", "admin")
    listed = await api.got(
        "admin", f"GET /os-migrations?migration_type=migration&instance_uuid={server.id}", None, "2.80", 200
    )
    (found,) = listed["migrations"]
    assert (found["migration_type"], found["status"], found["source_compute"]) == ("migration", "accepted", "compute1")
