"""The forms of a reboot at every microversion, and the states that allow it (spec: reboot, 1 and 2)."""

from typing import Any

import msgspec
import pytest

from renova.model.server import Server, TaskState, VmState
from renova.operations.parts.permits import PERMITS
from renova.operations.reboot import RebootServer

from .compute_cloud import ComputeApi
from .test_actions import act, refuse, row

VERSIONS = ["2.1", "2.17", "2.18", "2.57", "2.95", "2.104"]
WORDS = {"HARD": True, "Hard": True, "hard": True, "SOFT": False, "Soft": False, "soft": False}
HARD_OVER = {None, TaskState.REBOOTING, TaskState.REBOOT_PENDING, TaskState.REBOOT_STARTED} | {
    TaskState.REBOOTING_HARD,
    TaskState.RESUMING,
    TaskState.UNPAUSING,
    TaskState.PAUSING,
    TaskState.SUSPENDING,
}


async def on_host(api: ComputeApi, **values: Any) -> Server:
    return await api.have_server(host=await api.have_host("compute1"), host_name="compute1", **values)


def reboot(kind: Any) -> dict[str, Any]:
    return {"reboot": {"type": kind}}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("word", WORDS)
async def test_six_spellings_are_known_at_every_microversion(api: ComputeApi, word: str, version: str) -> None:
    server = await on_host(api)
    assert await act(api, server, reboot(word), version) is None
    (held,) = api.operations.started
    assert msgspec.json.decode(held.want, type=RebootServer).hard is WORDS[word]


@pytest.mark.parametrize(
    "body",
    [
        {"reboot": {}},
        {"reboot": None},
        {"reboot": "HARD"},
        {"reboot": {"type": None}},
        {"reboot": {"type": "hArD"}},
        {"reboot": {"type": "sOFT"}},
        {"reboot": {"type": "HARD "}},
        {"reboot": {"type": ""}},
        {"reboot": {"type": "HARD", "x": 1}},
        {"reboot": {"type": "HARD"}, "x": 1},
    ],
)
async def test_all_else_is_refused(api: ComputeApi, body: dict[str, Any]) -> None:
    await refuse(api, await on_host(api), body, 400)


@pytest.mark.parametrize("state", sorted(set(VmState) - {VmState.DELETED}))
@pytest.mark.parametrize("kind", ["SOFT", "HARD"])
async def test_only_the_states_of_the_table_allow_it(api: ComputeApi, kind: str, state: VmState) -> None:
    allowed = {"SOFT": {VmState.ACTIVE}, "HARD": {VmState.ACTIVE, VmState.STOPPED, VmState.ERROR}}[kind]
    if kind == "HARD":
        allowed |= {VmState.PAUSED, VmState.SUSPENDED}
    server = await on_host(api, vm_state=state)
    if state in allowed:
        await act(api, server, reboot(kind))
    else:
        assert f"vm_state {state}" in await refuse(api, server, reboot(kind), 409)


@pytest.mark.parametrize("task", sorted({None, *TaskState}, key=str))
@pytest.mark.parametrize("kind", ["SOFT", "HARD"])
async def test_only_the_tasks_of_the_table_allow_it(api: ComputeApi, kind: str, task: TaskState | None) -> None:
    server = await on_host(api, task_state=task)
    if task in ({None} if kind == "SOFT" else HARD_OVER):
        await act(api, server, reboot(kind))
        wanted = TaskState.REBOOTING if kind == "SOFT" else TaskState.REBOOTING_HARD
        assert (await row(api, server)).task_state is wanted
    else:
        assert f"task_state {task}" in await refuse(api, server, reboot(kind), 409)


def test_the_table_is_the_specs() -> None:
    assert PERMITS["reboot HARD"].tasks == HARD_OVER
    assert PERMITS["reboot SOFT"].tasks == {None}


@pytest.mark.parametrize("kind", ["SOFT", "HARD"])
async def test_locked_never_launched_and_foreign_servers_are_refused(api: ComputeApi, kind: str) -> None:
    locked = await on_host(api, locked_by="owner")
    assert "is locked" in await refuse(api, locked, reboot(kind), 409)
    new = await api.have_server(host=locked.host, launched_at=None)
    assert "invalid state" in await refuse(api, new, reboot(kind), 409)
    await refuse(api, await api.have_server("admin"), reboot(kind), 404)
    await act(api, locked, reboot(kind), who="admin")


async def test_a_reader_may_not(api: ComputeApi) -> None:
    await refuse(api, await api.have_server("reader", host=None), reboot("SOFT"), 403, who="reader")


@pytest.mark.parametrize(
    ("state", "task", "shown"),
    [
        (VmState.ACTIVE, TaskState.REBOOTING, "REBOOT"),
        (VmState.ACTIVE, TaskState.REBOOT_PENDING, "REBOOT"),
        (VmState.ACTIVE, TaskState.REBOOT_STARTED, "REBOOT"),
        (VmState.ACTIVE, TaskState.REBOOTING_HARD, "HARD_REBOOT"),
        (VmState.ACTIVE, TaskState.REBOOT_PENDING_HARD, "HARD_REBOOT"),
        (VmState.ACTIVE, TaskState.REBOOT_STARTED_HARD, "HARD_REBOOT"),
        (VmState.STOPPED, TaskState.REBOOTING_HARD, "SHUTOFF"),
        (VmState.PAUSED, TaskState.REBOOTING_HARD, "PAUSED"),
        (VmState.SUSPENDED, TaskState.REBOOT_STARTED_HARD, "SUSPENDED"),
        (VmState.ERROR, TaskState.REBOOT_PENDING_HARD, "ERROR"),
    ],
)
async def test_the_status_while_it_lasts(api: ComputeApi, state: VmState, task: TaskState, shown: str) -> None:
    server = await on_host(api, vm_state=state, task_state=task)
    assert (await api.got("demo", f"GET /servers/{server.id}"))["server"]["status"] == shown
