"""The forms of an evacuation at every microversion, and every check before it is accepted (spec: evacuate, 1 and 2)."""

from typing import Any

import msgspec
import pytest

from renova.model.server import Server, TaskState, VmState
from renova.operations.evacuate import EvacuateServer
from renova.store import actions, hosts, migrations

from .compute_cloud import ComputeApi
from .test_actions import refuse, row

# Of each range of microversions its first and its last.
OLD, UNSHARED, FORCED, VERIFIED, STOPPED = (
    ("2.1", "2.13"),
    ("2.14", "2.28"),
    ("2.29", "2.67"),
    ("2.68", "2.94"),
    ("2.95", "2.104"),
)


async def of_dead_host(api: ComputeApi, **values: Any) -> Server:
    host = await api.have_host("compute1", alive=False)
    await api.have_host("compute2")
    await api.cloud.database.transact(lambda tx: hosts.change(tx, host, forced_down=True))
    return await api.have_server(**{"host": host, "host_name": "compute1", **values})


async def evacuate(api: ComputeApi, server: Server, version: str, body: dict[str, Any]) -> tuple[Any, EvacuateServer]:
    """Have the evacuation accepted; returns the answer and what the story was told to do."""
    path = f"POST /servers/{server.id}/action"
    answer = await api.got("admin", path, {"evacuate": body}, version, 200)
    return answer, msgspec.json.decode(api.operations.started[-1].want, type=EvacuateServer)


def each(*ranges: tuple[str, str]) -> list[str]:
    return [version for both in ranges for version in both]


# Body, the microversions that take it, and what the story is told: (host, forced).
FORMS: list[tuple[dict[str, Any], list[str], tuple[str | None, bool]]] = [
    ({"onSharedStorage": False}, each(OLD), (None, False)),
    ({"onSharedStorage": "False", "host": "compute2"}, each(OLD), ("compute2", True)),
    ({}, each(UNSHARED, FORCED, VERIFIED, STOPPED), (None, False)),
    ({"adminPass": "x"}, each(UNSHARED, FORCED, VERIFIED, STOPPED), (None, False)),
    ({"host": "compute2"}, each(UNSHARED), ("compute2", True)),
    ({"host": "compute2"}, each(FORCED, VERIFIED, STOPPED), ("compute2", False)),
    ({"host": "compute2", "force": False}, each(FORCED), ("compute2", False)),
    ({"host": "compute2", "force": "False"}, each(FORCED), ("compute2", False)),
    ({"host": "compute2", "force": True}, each(FORCED), ("compute2", True)),
    ({"host": "compute2", "force": "yes"}, each(FORCED), ("compute2", True)),
    ({"force": False}, each(FORCED), (None, False)),
]


@pytest.mark.parametrize(
    ("version", "body", "told"), [(version, body, told) for body, versions, told in FORMS for version in versions]
)
async def test_each_form_means_what_its_microversion_says(
    api: ComputeApi, version: str, body: dict[str, Any], told: tuple[str | None, bool]
) -> None:
    server = await of_dead_host(api)
    answer, want = await evacuate(api, server, version, body)
    assert (want.host, want.forced) == told
    assert want.end_stopped is (version in STOPPED)
    assert want.on_shared_storage is (False if version in OLD else None)
    assert (answer is None) is (version not in OLD)
    assert want.admin_pass == body.get("adminPass", want.admin_pass)
    assert want.admin_pass


@pytest.mark.parametrize("said", [True, "True", "on", "1"])
async def test_on_shared_storage_the_password_stays(api: ComputeApi, said: Any) -> None:
    answer, want = await evacuate(api, await of_dead_host(api), "2.13", {"onSharedStorage": said})
    assert (answer, want.admin_pass, want.on_shared_storage) == ({"adminPass": None}, None, True)


async def test_a_password_is_made_where_none_is_given(api: ComputeApi) -> None:
    answer, want = await evacuate(api, await of_dead_host(api), "2.1", {"onSharedStorage": False})
    assert answer == {"adminPass": want.admin_pass}
    assert len(want.admin_pass or "") == 12


WRONG: list[tuple[list[str], dict[str, Any], str]] = [
    (each(OLD), {}, "onSharedStorage"),
    (each(OLD), {"onSharedStorage": None}, "onSharedStorage"),
    (each(OLD), {"onSharedStorage": "perhaps"}, "onSharedStorage"),
    (each(OLD), {"onSharedStorage": 2}, "onSharedStorage"),
    (each(OLD), {"onSharedStorage": True, "adminPass": "x"}, "admin password can't be changed"),
    (each(OLD), {"onSharedStorage": False, "host": "compute2", "force": False}, "force"),
    (each(UNSHARED), {"host": "compute2", "force": False}, "force"),
    (each(UNSHARED, FORCED, VERIFIED, STOPPED), {"onSharedStorage": False}, "onSharedStorage"),
    (each(FORCED), {"force": True}, "non-provided destination"),
    (each(FORCED), {"host": "compute2", "force": None}, "force"),
    (each(FORCED), {"host": "compute2", "force": "perhaps"}, "force"),
    (each(VERIFIED, STOPPED), {"host": "compute2", "force": False}, "force"),
    (each(STOPPED), {"host": ""}, "host"),
    (each(STOPPED), {"host": "a b"}, "host"),
    (each(STOPPED), {"host": "a/b"}, "host"),
    (each(STOPPED), {"host": "a" * 256}, "host"),
    (each(STOPPED), {"host": None}, "host"),
    (each(STOPPED), {"adminPass": None}, "adminPass"),
    (each(STOPPED), {"adminPass": 5}, "adminPass"),
    (each(STOPPED), {"host": "compute1"}, "can't be the same one"),
    (each(STOPPED), {"colour": "red"}, "colour"),
]


@pytest.mark.parametrize(
    ("version", "body", "message"),
    [(version, body, message) for versions, body, message in WRONG for version in versions],
)
async def test_a_wrong_form_is_refused_and_changes_nothing(
    api: ComputeApi, version: str, body: dict[str, Any], message: str
) -> None:
    server = await of_dead_host(api)
    assert message in await refuse(api, server, {"evacuate": body}, 400, version, "admin")
    assert await api.cloud.database.read(migrations.find) == []


STATES = [VmState.PAUSED, VmState.SUSPENDED, VmState.RESCUED, VmState.RESIZED, VmState.BUILDING]


@pytest.mark.parametrize("state", [*STATES, VmState.SHELVED, VmState.SHELVED_OFFLOADED, VmState.SOFT_DELETED])
async def test_other_states_are_refused_by_name(api: ComputeApi, state: VmState) -> None:
    server = await of_dead_host(api, vm_state=state)
    assert f"vm_state {state}" in await refuse(api, server, {"evacuate": {}}, 409, "2.95", "admin")


@pytest.mark.parametrize("task", sorted(set(TaskState) - {TaskState.DELETING}))
async def test_any_task_of_a_dead_host_is_no_obstacle(api: ComputeApi, task: TaskState) -> None:
    server = await of_dead_host(api, task_state=task)
    await evacuate(api, server, "2.95", {})
    assert (await row(api, server)).task_state is TaskState.REBUILDING


# In Nova's order: what comes first wins over all that follows.
async def test_the_checks_come_in_novas_order(api: ComputeApi) -> None:
    server = await of_dead_host(api, vm_state=VmState.PAUSED)
    everything: dict[str, Any] = {"force": True, "host": "mars"}
    await refuse(api, server, {"evacuate": {**everything, "colour": 1}}, 400, "2.29", "admin")
    await refuse(api, server, {"evacuate": everything}, 403, "2.29")
    assert "mars" in await refuse(api, server, {"evacuate": everything}, 404, "2.29", "admin")
    assert "same one" in await refuse(api, server, {"evacuate": {"host": "compute1"}}, 400, "2.29", "admin")
    assert "vm_state" in await refuse(api, server, {"evacuate": {"host": "compute2"}}, 409, "2.29", "admin")
    living = await api.have_server(host=await api.have_host("compute3"), host_name="compute3", vm_state=VmState.PAUSED)
    assert "vm_state" in await refuse(api, living, {"evacuate": {}}, 409, "2.29", "admin")


async def test_a_server_that_never_ran_or_has_no_host_is_refused(api: ComputeApi) -> None:
    server = await of_dead_host(api, launched_at=None)
    assert "invalid state" in await refuse(api, server, {"evacuate": {}}, 409, "2.95", "admin")
    nowhere = await api.have_server(host=None)
    assert "no host" in await refuse(api, nowhere, {"evacuate": {}}, 409, "2.95", "admin")


async def test_a_lock_does_not_hold_an_evacuation_up(api: ComputeApi) -> None:
    await evacuate(api, await of_dead_host(api, locked_by="owner"), "2.95", {})


async def test_a_host_that_is_up_is_still_in_use(api: ComputeApi) -> None:
    server = await api.have_server(host=await api.have_host("compute1"), host_name="compute1")
    message = await refuse(api, server, {"evacuate": {}}, 400, "2.95", "admin")
    assert "Compute service of compute1 is still in use" in message


@pytest.mark.parametrize("host", [None, "compute2"])
async def test_what_is_written_down(api: ComputeApi, host: str | None) -> None:
    server = await of_dead_host(api)
    _, want = await evacuate(api, server, "2.95", {"host": host} if host else {})
    (migration,) = await api.cloud.database.read(migrations.find)
    assert (migration.id, migration.type, migration.status) == (want.migration, "evacuation", "accepted")
    assert (migration.source, migration.source_name) == (server.host, "compute1")
    assert (migration.destination_name, migration.destination) == (host, None)
    assert (migration.user, migration.project) == (api.kept["admin_user"], api.kept["admin_project"])
    (action,) = await api.cloud.database.read(lambda tx: actions.of_server(tx, server.id))
    assert action.action == "evacuate"
    (event,) = await api.cloud.database.read(lambda tx: actions.events_of(tx, action.id))
    assert (event.event, event.result) == ("rebuild_server", None)
