"""Actions are right in form, allowed, and then written down once."""

from typing import Any

import msgspec
import pytest

from renova.model.ids import ServerId
from renova.model.server import KeyPair, Server, TaskState, VmState
from renova.operations.evacuate import EvacuateServer
from renova.operations.rebuild import RebuildServer
from renova.store import actions, hosts, migrations, servers

from .compute_cloud import IMAGE, OTHER_IMAGE, ComputeApi
from .test_keypairs import ED25519


async def act(
    api: ComputeApi, server: Server, action: Any, version: str = "2.1", who: str = "demo", status: int = 202
) -> Any:
    return await api.got(who, f"POST /servers/{server.id}/action", action, version, status)


async def refuse(
    api: ComputeApi, server: Server, action: Any, status: int, version: str = "2.1", who: str = "demo"
) -> str:
    """Have an action refused; the server is as it was then, and nothing is written down."""
    message = await api.refused(who, f"POST /servers/{server.id}/action", status, action, version)
    assert api.operations.started == []
    assert await row(api, server) == server
    return message


async def row(api: ComputeApi, server: Server) -> Server:
    found = await api.cloud.database.read(lambda tx: servers.get(tx, ServerId(server.id)))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Exactly one action"),
        ({"os-start": None, "os-stop": None}, "Exactly one action"),
        ({"dance": None}, "There is no such action: dance"),
        ({"os-stop": "now"}, "null is expected"),
        ({"os-stop": {"x": 1}}, "null is expected"),
        ({"reboot": {}}, "type"),
        ({"reboot": None}, "reboot"),
        ({"reboot": {"type": "hArD"}}, "type"),
        ({"reboot": {"type": "HARD", "x": 1}}, "x"),
    ],
)
async def test_a_malformed_action_is_refused(api: ComputeApi, body: Any, message: str) -> None:
    server = await api.have_server(host_name="compute1")
    assert message in await refuse(api, server, body, 400)


@pytest.mark.parametrize(
    ("version", "who", "body", "status"),
    [
        ("2.1", "demo", {"rescue": None}, 501),
        ("2.1", "demo", {"rescue": {"adminPass": "x"}}, 501),
        ("2.1", "reader", {"rescue": None}, 404),
        ("2.1", "demo", {"resize": {"flavorRef": "1"}}, 400),
        ("2.1", "demo", {"confirmResize": None}, 409),
        ("2.1", "demo", {"migrate": None}, 403),
        ("2.16", "demo", {"trigger_crash_dump": None}, 404),
        ("2.17", "demo", {"trigger_crash_dump": None}, 400),
        ("2.5", "demo", {"os-getVNCConsole": {"type": "novnc"}}, 501),
        ("2.6", "demo", {"os-getVNCConsole": {"type": "novnc"}}, 404),
        ("2.43", "demo", {"addFixedIp": {"networkId": "x"}}, 400),
        ("2.44", "demo", {"addFixedIp": {"networkId": "x"}}, 404),
        ("2.104", "demo", {"resetNetwork": None}, 410),
    ],
)
async def test_actions_that_are_missing_say_so(api: ComputeApi, version: str, who: str, body: Any, status: int) -> None:
    server = await api.have_server(host=await api.have_host("compute1"), host_name="compute1")
    await refuse(api, server, body, status, version, who)


async def test_a_forced_delete_is_a_delete(api: ComputeApi) -> None:
    server = await api.have_server()
    await refuse(api, server, {"forceDelete": "now"}, 400)
    await act(api, server, {"forceDelete": None})
    assert (await row(api, server)).task_state is TaskState.DELETING


@pytest.mark.parametrize(
    ("vm_state", "body", "story", "task"),
    [
        (VmState.ACTIVE, {"os-stop": None}, "stop", TaskState.POWERING_OFF),
        (VmState.STOPPED, {"os-start": {}}, "start", TaskState.POWERING_ON),
        (VmState.ACTIVE, {"reboot": {"type": "Soft"}}, "reboot", TaskState.REBOOTING),
        (VmState.ERROR, {"reboot": {"type": "hard"}}, "reboot", TaskState.REBOOTING_HARD),
        (VmState.ACTIVE, {"pause": None}, "pause", TaskState.PAUSING),
        (VmState.PAUSED, {"unpause": None}, "unpause", TaskState.UNPAUSING),
        (VmState.ACTIVE, {"suspend": None}, "suspend", TaskState.SUSPENDING),
        (VmState.SUSPENDED, {"resume": None}, "resume", TaskState.RESUMING),
    ],
)
async def test_an_accepted_action_is_written_down(
    api: ComputeApi, vm_state: VmState, body: Any, story: str, task: TaskState
) -> None:
    host = await api.have_host("compute1")
    server = await api.have_server(vm_state=vm_state, host=host, host_name="compute1")
    answer = await api.compute("demo", f"POST /servers/{server.id}/action", body)
    assert (answer.status_code, answer.content) == (202, b"")
    assert (await row(api, server)).task_state is task
    assert [held.story for held in api.operations.started] == [story]
    (action,) = await api.cloud.database.read(lambda tx: actions.of_server(tx, server.id))
    assert (action.action, action.request) == (story, answer.headers["x-openstack-request-id"])


async def test_the_state_must_allow_the_action(api: ComputeApi) -> None:
    server = await api.have_server(vm_state=VmState.STOPPED, host=await api.have_host("compute1"))
    for body in ({"os-stop": None}, {"reboot": {"type": "SOFT"}}):
        assert "vm_state stopped" in await refuse(api, server, body, 409)


async def test_a_locked_server_is_left_alone_by_its_owner(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    server = await api.have_server(host=host, host_name="compute1")
    await act(api, server, {"lock": {"locked_reason": "careful"}}, "2.73")
    locked = await row(api, server)
    assert (locked.locked_by, locked.locked_reason) == ("owner", "careful")
    assert "is locked" in await refuse(api, locked, {"os-stop": None}, 409)
    await act(api, server, {"os-stop": None}, who="admin")


async def test_an_administrators_lock_is_not_the_owners_to_open(api: ComputeApi) -> None:
    server = await api.have_server()
    await act(api, server, {"lock": None}, who="admin")
    locked = await row(api, server)
    assert locked.locked_by == "admin"
    await refuse(api, locked, {"unlock": None}, 403)
    await act(api, server, {"lock": None})  # changes nothing
    assert (await row(api, server)).locked_by == "admin"
    await act(api, server, {"unlock": None}, who="admin")
    assert (await row(api, server)).locked_by is None
    done = await api.cloud.database.read(lambda tx: actions.of_server(tx, server.id))
    assert [action.action for action in done] == ["unlock", "lock"]
    await refuse(api, await row(api, server), {"lock": {"locked_reason": "x"}}, 400, "2.72")


async def test_an_administrator_says_the_state(api: ComputeApi) -> None:
    server = await api.have_server(task_state=TaskState.REBOOTING)
    await refuse(api, server, {"os-resetState": {"state": "error"}}, 403)
    await refuse(api, server, {"os-resetState": {"state": "paused"}}, 400, who="admin")
    await act(api, server, {"os-resetState": {"state": "error"}}, who="admin")
    found = await row(api, server)
    assert (found.vm_state, found.task_state) == (VmState.ERROR, None)


@pytest.mark.parametrize(
    ("length", "output"),
    [(None, "one\ntwo\nthree\n"), (-1, "one\ntwo\nthree\n"), (2, "two\nthree\n"), ("1", "three\n"), (0, "")],
)
async def test_the_console_shows_its_last_lines(api: ComputeApi, length: Any, output: str) -> None:
    host = await api.have_host("compute1")
    server = await api.have_server(host=host, host_name="compute1")
    api.hosts.text = b"one\n\x1btwo\x00\nthree\n"
    body = {"os-getConsoleOutput": {"length": length}}
    assert await act(api, server, body, status=200) == {"output": output}


async def test_a_server_without_a_host_has_no_console(api: ComputeApi) -> None:
    server = await api.have_server(host=None)
    assert "is not ready" in await refuse(api, server, {"os-getConsoleOutput": {}}, 409)
    for length in ("x", -2, "-5"):
        await refuse(api, server, {"os-getConsoleOutput": {"length": length}}, 400)


async def rebuildable(api: ComputeApi, **values: Any) -> Server:
    host = await api.have_host("compute1")
    return await api.have_server(
        host=host,
        host_name="compute1",
        key=KeyPair("old", "ssh-rsa AAAA"),
        metadata={"old": "1"},
        user_data="aGk=",
        **values,
    )


async def test_a_rebuild_changes_what_is_given_and_keeps_the_rest(api: ComputeApi) -> None:
    await api.got("demo", "POST /os-keypairs", {"keypair": {"name": "mine", "public_key": ED25519}})
    server = await rebuildable(api)
    wanted = {
        "imageRef": OTHER_IMAGE,
        "name": "new",
        "metadata": {"new": "2"},
        "key_name": "mine",
        "hostname": "new-name",
        "adminPass": "secret",
    }
    shown = (await act(api, server, {"rebuild": wanted}, "2.90"))["server"]
    assert (shown["status"], shown["name"], shown["adminPass"]) == ("REBUILD", "new", "secret")
    assert (shown["metadata"], shown["key_name"], shown["user_data"]) == ({"new": "2"}, "mine", "aGk=")
    found = await row(api, server)
    assert (found.image, found.hostname, found.user_data) == (OTHER_IMAGE, "new-name", "aGk=")
    (held,) = api.operations.started
    assert msgspec.json.decode(held.want, type=RebuildServer).admin_pass == "secret"


async def test_a_rebuild_takes_away_what_is_null(api: ComputeApi) -> None:
    server = await rebuildable(api)
    wanted = {"imageRef": IMAGE, "key_name": None, "user_data": None, "description": None}
    shown = (await act(api, server, {"rebuild": wanted}, "2.57"))["server"]
    assert (shown["key_name"], shown["user_data"], shown["description"]) == (None, None, None)
    assert shown["metadata"] == {"old": "1"}
    assert len(shown["adminPass"]) == 12


@pytest.mark.parametrize(
    ("version", "has", "misses"),
    [
        ("2.1", {"adminPass", "status"}, {"key_name", "OS-EXT-STS:vm_state", "locked"}),
        ("2.54", {"key_name", "locked", "description", "tags"}, {"user_data"}),
        ("2.57", {"user_data"}, {"OS-EXT-STS:vm_state"}),
        ("2.75", {"OS-EXT-STS:vm_state", "server_groups", "locked_reason"}, {"OS-EXT-SRV-ATTR:hostname"}),
        ("2.90", {"OS-EXT-SRV-ATTR:hostname"}, {"pinned_availability_zone"}),
    ],
)
async def test_the_answer_to_a_rebuild_follows_the_microversion(
    api: ComputeApi, version: str, has: set[str], misses: set[str]
) -> None:
    server = await rebuildable(api)
    answer = await api.compute("demo", f"POST /servers/{server.id}/action", {"rebuild": {"imageRef": IMAGE}}, version)
    shown = set(answer.json()["server"])
    assert answer.headers["location"].endswith(f"/servers/{server.id}")
    assert has <= shown
    assert not misses & shown


@pytest.mark.parametrize(
    ("version", "change", "status", "message"),
    [
        ("2.1", {"imageRef": "x"}, 400, "imageRef"),
        ("2.1", {"imageRef": "0d7c1e5c-94a5-4d4a-9d5c-0bd4c1a1a9a1"}, 400, "Cannot find image for rebuild"),
        ("2.53", {"key_name": "mine"}, 400, "key_name"),
        ("2.54", {"key_name": "none"}, 400, "Invalid key_name provided."),
        ("2.56", {"user_data": "aGk="}, 400, "user_data"),
        ("2.57", {"user_data": "no!"}, 400, "user_data"),
        ("2.57", {"personality": []}, 400, "personality"),
        ("2.89", {"hostname": "x"}, 400, "hostname"),
        ("2.93", {"hostname": "a.b"}, 400, "hostname"),
        ("2.1", {"preserve_ephemeral": True}, 400, "ephemeral"),
        ("2.1", {"name": " "}, 400, "name"),
        ("2.19", {"description": "a\x00b"}, 400, "description"),
        ("2.1", {"colour": "red"}, 400, "colour"),
        ("2.1", {"metadata": {f"k{number}": "" for number in range(129)}}, 403, "metadata"),
    ],
)
async def test_a_wrong_rebuild_touches_nothing(
    api: ComputeApi, version: str, change: Any, status: int, message: str
) -> None:
    server = await rebuildable(api)
    assert message in await refuse(api, server, {"rebuild": {"imageRef": IMAGE, **change}}, status, version)


async def test_a_rebuild_needs_a_fit_image_and_state(api: ComputeApi) -> None:
    server = await rebuildable(api, task_state=TaskState.REBOOTING)
    assert "task_state" in await refuse(api, server, {"rebuild": {"imageRef": IMAGE}}, 409)
    idle = await api.have_server(host=server.host, host_name="compute1")
    api.images[IMAGE] = msgspec.structs.replace(api.images[IMAGE], min_ram=4096)
    assert "memory" in await refuse(api, idle, {"rebuild": {"imageRef": IMAGE}}, 400)


async def of_dead_host(api: ComputeApi, **values: Any) -> Server:
    host = await api.have_host("compute1", alive=False)
    await api.have_host("compute2")
    await api.cloud.database.transact(lambda tx: hosts.change(tx, host, forced_down=True))
    return await api.have_server(host=host, host_name="compute1", **values)


@pytest.mark.parametrize(
    ("version", "body", "message"),
    [
        ("2.1", {}, "onSharedStorage"),
        ("2.1", {"onSharedStorage": True, "adminPass": "x"}, "admin password"),
        ("2.1", {"onSharedStorage": "perhaps"}, "onSharedStorage"),
        ("2.14", {"onSharedStorage": False}, "onSharedStorage"),
        ("2.28", {"force": True, "host": "compute2"}, "force"),
        ("2.29", {"force": True}, "non-provided destination"),
        ("2.68", {"force": False}, "force"),
        ("2.95", {"host": "a b"}, "host"),
        ("2.95", {"host": "compute1"}, "can't be the same one"),
        ("2.95", {"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_evacuation_touches_nothing(api: ComputeApi, version: str, body: Any, message: str) -> None:
    server = await of_dead_host(api)
    assert message in await refuse(api, server, {"evacuate": body}, 400, version, "admin")


async def test_evacuation_is_for_administrators_to_hosts_that_are_there(api: ComputeApi) -> None:
    server = await of_dead_host(api)
    await refuse(api, server, {"evacuate": {}}, 403, "2.95")
    assert "mars" in await refuse(api, server, {"evacuate": {"host": "mars"}}, 404, "2.95", "admin")


async def test_a_living_host_is_not_evacuated(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    server = await api.have_server(host=host, host_name="compute1")
    assert "is still in use" in await refuse(api, server, {"evacuate": {}}, 400, "2.95", "admin")


@pytest.mark.parametrize(
    ("version", "body", "answer"),
    [
        ("2.1", {"onSharedStorage": False, "adminPass": "x"}, {"adminPass": "x"}),
        ("2.13", {"onSharedStorage": "True"}, {"adminPass": None}),
        ("2.14", {"adminPass": "x"}, None),
        ("2.29", {"host": "compute2", "force": "true"}, None),
        ("2.95", {}, None),
        ("2.104", {"host": "compute2"}, None),
    ],
)
async def test_an_accepted_evacuation_answers_at_once(api: ComputeApi, version: str, body: Any, answer: Any) -> None:
    server = await of_dead_host(api)
    assert await act(api, server, {"evacuate": body}, version, "admin", 200) == answer
    (held,) = api.operations.started
    wanted = msgspec.json.decode(held.want, type=EvacuateServer)
    assert wanted.host == body.get("host")
    assert wanted.end_stopped is (version in ("2.95", "2.104"))
    assert (wanted.admin_pass is None) is (version == "2.13")
    (migration,) = await api.cloud.database.read(migrations.find)
    assert (migration.status, migration.type, migration.source_name) == ("accepted", "evacuation", "compute1")
    assert (await row(api, server)).task_state is TaskState.REBUILDING
    assert "another evacuation" in await api.refused(
        "admin", f"POST /servers/{server.id}/action", 409, {"evacuate": {}}, "2.95"
    )
