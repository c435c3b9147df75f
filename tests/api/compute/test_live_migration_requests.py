"""The forms of a live migration at every microversion, how one is followed, and what may be said about it."""

from typing import Any

import msgspec
import pytest

from renova.model.server import Server, TaskState
from renova.operations.migrate_live import MigrateLive
from renova.store import migrations
from renova.store.migrations import Wish

from .compute_cloud import ComputeApi
from .test_actions import act, refuse, row
from .test_migrate_requests import on_a_host

ANYWHERE = {"host": None, "block_migration": "auto"}


async def on_a_live_host(api: ComputeApi) -> Server:
    host = await api.have_host("compute1", live=True)
    await api.have_host("compute2")
    return await api.have_server(host=host, host_name="compute1")


async def moved(api: ComputeApi, migration: int, status: str, **amounts: int) -> None:
    await api.cloud.database.transact(lambda tx: migrations.move(tx, migration, migrations.ACTIVE, status, **amounts))


@pytest.mark.parametrize(
    ("version", "body", "host", "forced"),
    [
        ("2.1", {"host": None, "block_migration": False, "disk_over_commit": False}, None, False),
        ("2.24", {"host": "compute2", "block_migration": "false", "disk_over_commit": True}, "compute2", True),
        ("2.25", {"host": "compute2", "block_migration": "auto"}, "compute2", True),
        ("2.29", {"host": "compute2", "block_migration": False}, "compute2", True),
        ("2.30", {"host": "compute2", "block_migration": "auto"}, "compute2", False),
        ("2.67", {"host": "compute2", "block_migration": "auto", "force": True}, "compute2", True),
        ("2.104", {"host": "compute2", "block_migration": "auto"}, "compute2", False),
    ],
)
async def test_each_form_means_what_its_microversion_says(
    api: ComputeApi, version: str, body: Any, host: str | None, forced: bool
) -> None:
    server = await on_a_live_host(api)
    await act(api, server, {"os-migrateLive": body}, version, "admin")
    assert (await row(api, server)).task_state is TaskState.MIGRATING
    want = msgspec.json.decode(api.operations.started[-1].want, type=MigrateLive)
    assert (want.host, want.forced, want.source) == (host, forced, server.host)
    (found,) = await api.cloud.database.read(migrations.find)
    assert (found.type, found.status, found.destination_name) == ("live-migration", "queued", host)
    shown = (await api.got("admin", f"GET /servers/{server.id}", None, version, 200))["server"]
    assert shown["status"] == "MIGRATING"


@pytest.mark.parametrize(
    ("version", "who", "body", "status", "says"),
    [
        ("2.25", "demo", ANYWHERE, 403, "os-migrate-server:migrate_live"),
        ("2.1", "admin", {}, 400, "host"),
        ("2.24", "admin", {"host": None, "block_migration": False}, 400, "disk_over_commit"),
        ("2.24", "admin", {**ANYWHERE, "disk_over_commit": False}, 400, "auto"),
        ("2.25", "admin", {**ANYWHERE, "disk_over_commit": False}, 400, "disk_over_commit"),
        ("2.25", "admin", {"host": None}, 400, "block_migration"),
        ("2.25", "admin", {**ANYWHERE, "block_migration": True}, 400, "not copied"),
        ("2.29", "admin", {**ANYWHERE, "force": False}, 400, "force"),
        ("2.30", "admin", {**ANYWHERE, "force": True}, 400, "non-provided"),
        ("2.68", "admin", {**ANYWHERE, "force": False}, 400, "force"),
        ("2.25", "admin", {**ANYWHERE, "host": "mars"}, 400, "mars could not be found"),
        ("2.25", "admin", {**ANYWHERE, "host": "compute1"}, 400, "where the server exists"),
    ],
)
async def test_what_cannot_be_is_refused(
    api: ComputeApi, version: str, who: str, body: Any, status: int, says: str
) -> None:
    server = await on_a_live_host(api)
    assert says in await refuse(api, server, {"os-migrateLive": body}, status, version, who)


async def test_a_host_that_guests_do_not_leave_so_says_it(api: ComputeApi) -> None:
    server = await on_a_host(api)
    assert "migrated live" in await refuse(api, server, {"os-migrateLive": ANYWHERE}, 409, "2.25", "admin")


async def test_one_that_is_in_progress_is_shown_with_how_far_it_is(api: ComputeApi) -> None:
    server = await on_a_live_host(api)
    assert await api.got("admin", f"GET /servers/{server.id}/migrations", version="2.23") == {"migrations": []}
    await act(api, server, {"os-migrateLive": ANYWHERE}, "2.25", "admin")
    (found,) = (await api.got("admin", f"GET /servers/{server.id}/migrations", version="2.23"))["migrations"]
    path = f"/servers/{server.id}/migrations/{found['id']}"
    assert (found["status"], found["source_compute"], found["memory_total_bytes"]) == ("queued", "compute1", 0)
    (begun,) = await api.cloud.database.read(migrations.find)
    await moved(api, found["id"], "running", memory_total=9, memory_processed=5, memory_remaining=4)
    shown = (await api.got("admin", f"GET {path}", version="2.80"))["migration"]
    assert (shown["status"], shown["server_uuid"], shown["uuid"]) == ("running", server.id, begun.uuid)
    assert [shown[f"memory_{each}_bytes"] for each in ("total", "processed", "remaining")] == [9, 5, 4]
    (listed,) = (await api.got("admin", "GET /os-migrations", version="2.80"))["migrations"]
    assert listed["migration_type"] == "live-migration"
    assert path in listed["links"][0]["href"]
    await moved(api, found["id"], "completed")
    await api.refused("admin", f"GET {path}", 404, version="2.80")
    assert await api.got("admin", f"GET /servers/{server.id}/migrations", version="2.23") == {"migrations": []}


async def test_one_that_runs_can_be_completed_by_force_or_aborted(api: ComputeApi) -> None:
    server = await on_a_live_host(api)
    await act(api, server, {"os-migrateLive": ANYWHERE}, "2.25", "admin")
    (begun,) = await api.cloud.database.read(migrations.find)
    path, complete = f"/servers/{server.id}/migrations/{begun.id}", {"force_complete": None}
    await api.refused("admin", f"POST {path}/action", 400, complete, version="2.22")
    await api.refused("admin", f"DELETE {path}", 400, version="2.64")
    await moved(api, begun.id, "running")
    await api.refused("demo", f"DELETE {path}", 403, version="2.24")
    await api.refused("admin", f"DELETE {path}", 404, version="2.23")
    await api.refused("admin", f"POST {path}/action", 400, {"force_complete": 1}, version="2.22")
    await api.got("admin", f"POST {path}/action", complete, "2.22", 202)
    assert await wish(api) is Wish.COMPLETE
    await api.got("admin", f"DELETE {path}", None, "2.24", 202)
    assert await wish(api) is Wish.ABORT
    for unknown in (f"/servers/{server.id}/migrations/99", f"/servers/{server.id}/migrations/x"):
        await api.refused("admin", f"DELETE {unknown}", 404, version="2.24")


async def test_one_that_is_prepared_can_be_aborted_by_newer_clients(api: ComputeApi) -> None:
    server = await on_a_live_host(api)
    await act(api, server, {"os-migrateLive": ANYWHERE}, "2.25", "admin")
    (begun,) = await api.cloud.database.read(migrations.find)
    await api.got("admin", f"DELETE /servers/{server.id}/migrations/{begun.id}", None, "2.65", 202)
    assert await wish(api) is Wish.ABORT


async def wish(api: ComputeApi) -> Wish | None:
    (found,) = await api.cloud.database.read(migrations.find)
    return found.wish


async def test_managers_move_their_projects_servers_and_neither_choose_nor_see_where(api: ComputeApi) -> None:
    host = await api.have_host("compute1", live=True)
    await api.have_host("compute2", live=True)
    server = await api.have_server("manager", host=host, host_name="compute1")
    to_one = ({"os-migrateLive": {**ANYWHERE, "host": "compute2"}}, {"migrate": {"host": "compute2"}})
    for body, rule in zip(to_one, ("migrate_live:host", "migrate:host"), strict=True):
        assert rule in await refuse(api, server, body, 403, "2.56", "manager")
    others = await api.have_server("demo", host=host, host_name="compute1")
    for body in ({"os-migrateLive": ANYWHERE}, {"migrate": None}):
        await refuse(api, others, body, 404, "2.56", "manager")
        await refuse(api, others, body, 403, "2.56", "demo")
    await act(api, server, {"os-migrateLive": ANYWHERE}, "2.25", "manager")
    listed = f"GET /servers/{server.id}/migrations"
    (seen,) = (await api.got("manager", listed, version="2.80"))["migrations"]
    (whole,) = (await api.got("admin", listed, version="2.80"))["migrations"]
    hosts = {"source_compute", "source_node", "dest_compute", "dest_node", "dest_host"}
    assert (whole["source_compute"], {seen[name] for name in hosts}) == ("compute1", {None})
    assert {name: seen[name] for name in seen.keys() - hosts} == {name: whole[name] for name in whole.keys() - hosts}
    cold = await api.have_server("manager", host=host, host_name="compute1")
    await act(api, cold, {"migrate": None}, "2.56", "manager")
    assert (await row(api, cold)).task_state is TaskState.RESIZE_PREP


async def test_a_manager_hurries_or_aborts_a_move_unless_the_server_is_locked(api: ComputeApi) -> None:
    server = await api.have_server("manager", host=await api.have_host("compute1", live=True), host_name="compute1")
    await act(api, server, {"os-migrateLive": ANYWHERE}, "2.25", "manager")
    (begun,) = await api.cloud.database.read(migrations.find)
    await moved(api, begun.id, "running")
    path, complete = f"/servers/{server.id}/migrations/{begun.id}", {"force_complete": None}
    await act(api, server, {"lock": None}, "2.73", "admin")
    assert "is locked" in await api.refused("manager", f"POST {path}/action", 409, complete, version="2.22")
    assert "is locked" in await api.refused("manager", f"DELETE {path}", 409, version="2.24")
    assert await wish(api) is None
    await api.got("admin", f"POST {path}/action", complete, "2.22", 202)
    await act(api, server, {"unlock": None}, "2.73", "admin")
    await api.got("manager", f"DELETE {path}", None, "2.24", 202)
    assert await wish(api) is Wish.ABORT
