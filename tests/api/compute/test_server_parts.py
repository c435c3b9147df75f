"""The parts of a server that have paths of their own: metadata, tags, addresses, ports, and what was done to it."""

import asyncio
import hashlib
from typing import Any

import msgspec
import pytest

from renova.engine.journal import Book
from renova.engine.operation import Failure
from renova.model.ids import NetworkId, PortId
from renova.model.server import AttachedAddress, AttachedNetwork, Server, VmState
from renova.store import actions, operations
from renova.store.database import Tx
from renova.store.journal import StoredJournal

from .compute_cloud import ComputeApi


async def test_metadata_is_added_replaced_and_removed(api: ComputeApi) -> None:
    server = await api.have_server(metadata={"a": "1"})
    path = f"/servers/{server.id}/metadata"
    assert await api.got("demo", f"GET {path}") == {"metadata": {"a": "1"}}
    assert await api.got("demo", f"POST {path}", {"metadata": {"b": "2"}}) == {"metadata": {"a": "1", "b": "2"}}
    assert await api.got("demo", f"PUT {path}/c", {"meta": {"c": "3"}}) == {"meta": {"c": "3"}}
    assert await api.got("demo", f"GET {path}/c") == {"meta": {"c": "3"}}
    await api.got("demo", f"DELETE {path}/b", status=204)
    assert await api.got("demo", f"GET {path}") == {"metadata": {"a": "1", "c": "3"}}
    assert await api.got("demo", f"PUT {path}", {"metadata": {}}) == {"metadata": {}}


@pytest.mark.parametrize(
    ("request_", "body", "status"),
    [
        ("POST /metadata", {"metadata": {"a": 1}}, 400),
        ("POST /metadata", {"metadata": {"é": "1"}}, 400),
        ("POST /metadata", {"meta": {}}, 400),
        ("PUT /metadata/a", {"meta": {"b": "1"}}, 400),
        ("PUT /metadata/a", {"meta": {"a": "1", "b": "1"}}, 400),
        ("POST /metadata", {"metadata": {f"k{number}": "" for number in range(129)}}, 403),
        ("GET /metadata/none", None, 404),
        ("DELETE /metadata/none", None, 404),
        ("PUT /tags", {"tags": ["a,b"]}, 400),
        ("PUT /tags", {"tags": ["a" * 61]}, 400),
        ("PUT /tags", {"tags": [str(number) for number in range(51)]}, 400),
        ("PUT /tags/a,b", None, 400),
        ("GET /tags/none", None, 404),
        ("DELETE /tags/none", None, 404),
        ("GET /ips/none", None, 404),
        ("GET /os-interface/none", None, 404),
        ("GET /os-instance-actions/none", None, 404),
    ],
)
async def test_what_is_wrong_or_missing_is_refused(api: ComputeApi, request_: str, body: Any, status: int) -> None:
    server = await api.have_server()
    method, _, path = request_.partition(" ")
    await api.refused("demo", f"{method} /servers/{server.id}{path}", status, body, "2.90")


async def test_metadata_of_a_locked_or_failed_server_stays(api: ComputeApi) -> None:
    locked = await api.have_server(locked_by="owner")
    await api.refused("demo", f"POST /servers/{locked.id}/metadata", 409, {"metadata": {"a": "1"}})
    failed = await api.have_server(vm_state=VmState.ERROR)
    await api.refused("demo", f"POST /servers/{failed.id}/metadata", 409, {"metadata": {"a": "1"}})
    await api.refused("demo", f"PUT /servers/{failed.id}/tags/a", 409, version="2.26")


async def test_tags_are_words(api: ComputeApi) -> None:
    server = await api.have_server()
    path = f"/servers/{server.id}/tags"
    answer = await api.compute("demo", f"PUT {path}/blue", version="2.26")
    assert (answer.status_code, answer.headers["location"].rpartition("/")[2]) == (201, "blue")
    await api.got("demo", f"PUT {path}/blue", version="2.26", status=204)
    await api.got("demo", f"GET {path}/blue", version="2.26", status=204)
    assert await api.got("demo", f"PUT {path}", {"tags": ["a", "b", "a"]}, "2.26") == {"tags": ["a", "b"]}
    await api.got("demo", f"DELETE {path}/a", version="2.26", status=204)
    assert await api.got("demo", f"GET {path}", version="2.26") == {"tags": ["b"]}
    await api.got("demo", f"DELETE {path}", version="2.26", status=204)
    assert await api.got("demo", f"GET {path}", version="2.26") == {"tags": []}
    await api.refused("demo", f"GET {path}", 404, version="2.25")


@pytest.mark.parametrize(("tag", "quoted"), [("٣", "%D9%A3"), ("a%0Ab", "a%0Ab"), ("ü", "%C3%BC"), ("a%20b", "a b")])
async def test_a_tag_of_any_letters_has_an_address(api: ComputeApi, tag: str, quoted: str) -> None:
    server = await api.have_server()
    answer = await api.compute("demo", f"PUT /servers/{server.id}/tags/{tag}", version="2.26")
    assert (answer.status_code, answer.headers["location"].rpartition("/")[2]) == (201, quoted)
    assert answer.headers["location"].isprintable()


async def test_addresses_are_listed_by_network(api: ComputeApi) -> None:
    server = await api.have_server()
    addresses = {"private": [{"version": 4, "addr": "10.0.0.5"}]}
    assert await api.got("demo", f"GET /servers/{server.id}/ips") == {"addresses": addresses}
    assert await api.got("demo", f"GET /servers/{server.id}/ips/private") == addresses
    assert await api.got("demo", f"GET /servers/{server.id}/os-interface") == {"interfaceAttachments": []}


async def test_addresses_of_networks_of_one_name_are_shown_together(api: ComputeApi) -> None:
    networks = [
        AttachedNetwork(NetworkId(f"net-{ip}"), "private", (AttachedAddress(ip, "fa:16:3e:00:00:05", PortId(ip)),))
        for ip in ("10.0.0.5", "10.0.9.5")
    ]
    server = await api.have_server(networks=tuple(networks))
    for path, key in (("", "server"), ("/ips", "addresses"), ("/ips/private", "private")):
        shown = (await api.got("demo", f"GET /servers/{server.id}{path}"))[key]
        shown = shown.get("addresses", shown)["private"] if key != "private" else shown
        assert [each["addr"] for each in shown] == ["10.0.0.5", "10.0.9.5"]


async def test_who_attaches_a_port_is_answered_though_nothing_moves(api: ComputeApi) -> None:
    server = await api.have_server(host=await api.have_host("one"), host_name="one")
    began = api.clock.monotonic()
    said = await api.refused("demo", f"POST /servers/{server.id}/os-interface", 503, {"interfaceAttachment": {}})
    assert "goes on" in said
    assert api.clock.monotonic() - began <= 60


@pytest.mark.parametrize(
    ("kind", "status"),
    [("Stale", 409), ("Conflict", 409), ("Elsewhere", 503), ("StorageAway", 503), ("OnHold", 503), ("Broken", 500)],
)
async def test_who_attaches_a_port_hears_why_that_failed(api: ComputeApi, kind: str, status: int) -> None:
    server = await api.have_server(host=await api.have_host("one"), host_name="one")
    failure = msgspec.json.encode(Failure("why it failed", kind, "", ""))

    async def fail() -> None:
        while (held := await api.cloud.database.read(lambda tx: operations.active(tx, server.id))) is None:
            await api.clock.sleep(0.01)

        def change(_tx: Tx, book: Book) -> None:
            book.begin_undo(failure)
            book.close("failed")

        await StoredJournal(api.cloud.database).commit(held, change, "failing")

    path = f"POST /servers/{server.id}/os-interface"
    async with asyncio.TaskGroup() as both:
        asking = both.create_task(api.refused("demo", path, status, {"interfaceAttachment": {}}))
        both.create_task(fail())
    assert "why it failed" in asking.result()


async def test_a_server_is_changed(api: ComputeApi) -> None:
    server = await api.have_server()
    wanted = {"name": "new", "description": "ours", "hostname": "new-name", "accessIPv4": "192.0.2.1", "accessIPv6": ""}
    shown = (await api.got("demo", f"PUT /servers/{server.id}", {"server": wanted}, "2.90"))["server"]
    assert (shown["name"], shown["description"], shown["accessIPv4"]) == ("new", "ours", "192.0.2.1")
    assert shown["OS-EXT-SRV-ATTR:hostname"] == "new-name"
    old = (await api.got("demo", f"PUT /servers/{server.id}", {"server": {"name": "old"}}))["server"]
    assert old["name"] == "old"
    assert "key_name" not in old
    pinned = {"server": {"pinned_availability_zone": "nova"}}
    shown = (await api.got("demo", f"PUT /servers/{server.id}", pinned, "2.104"))["server"]
    assert shown["pinned_availability_zone"] == "nova"


@pytest.mark.parametrize(
    ("version", "change"),
    [
        ("2.1", {"name": ""}),
        ("2.1", {"colour": "red"}),
        ("2.1", {"accessIPv4": "x"}),
        ("2.18", {"description": "x"}),
        ("2.89", {"hostname": "x1"}),
        ("2.90", {"hostname": "a_b"}),
        ("2.103", {"pinned_availability_zone": None}),
        ("2.104", {"pinned_availability_zone": "mars"}),
    ],
)
async def test_a_wrong_change_is_refused(api: ComputeApi, version: str, change: Any) -> None:
    server = await api.have_server()
    await api.refused("demo", f"PUT /servers/{server.id}", 400, {"server": change}, version)


async def test_deleting_is_written_down_once(api: ComputeApi) -> None:
    server = await api.have_server()
    for _ in range(2):
        await api.got("demo", f"DELETE /servers/{server.id}", status=204)
    assert [held.story for held in api.operations.started] == ["delete"]
    await api.refused("demo", "DELETE /servers/none", 404)


async def with_action(api: ComputeApi, server: Server, request: str, action: str, host: str | None) -> None:
    def work(tx: Tx) -> None:
        began = actions.begin(tx, server.id, request, action, server.user, server.project)
        actions.open_event(tx, began, f"compute_{action}_instance", host)
        actions.close_events(tx, began, error="no luck" if action == "reboot" else None, traceback="Traceback")

    api.clock.now = api.clock.now.replace(second=api.clock.now.second + 1)
    await api.cloud.database.transact(work)


async def test_what_was_done_is_told_to_the_end(api: ComputeApi) -> None:
    server = await api.have_server(vm_state=VmState.DELETED, deleted=True)
    path = f"/servers/{server.id}/os-instance-actions"
    for request, action in (("req-1", "create"), ("req-2", "reboot"), ("req-3", "delete")):
        await with_action(api, server, request, action, "compute1")
    await api.refused("demo", f"GET {path}", 404, version="2.20")
    found = (await api.got("demo", f"GET {path}", version="2.58"))["instanceActions"]
    assert [each["action"] for each in found] == ["delete", "reboot", "create"]
    assert found[1]["message"] == "Error"
    page = await api.got("demo", f"GET {path}?limit=1&marker=req-3", version="2.58")
    assert [each["request_id"] for each in page["instanceActions"]] == ["req-2"]
    assert page["links"][0]["href"].endswith("?limit=1&marker=req-2")
    since = found[1]["updated_at"]
    assert len((await api.got("demo", f"GET {path}?changes-since={since}", version="2.58"))["instanceActions"]) == 2
    assert len((await api.got("demo", f"GET {path}?changes-before={since}", version="2.66"))["instanceActions"]) == 2
    for query in ("marker=none", "changes-since=x", "limit=x", "colour=red"):
        await api.refused("demo", f"GET {path}?{query}", 400, version="2.58")


@pytest.mark.parametrize(
    ("who", "version", "fields"),
    [
        ("demo", "2.50", None),
        ("admin", "2.50", {"traceback"}),
        ("demo", "2.51", set()),
        ("demo", "2.62", {"hostId"}),
        ("admin", "2.62", {"hostId", "host", "traceback"}),
        ("demo", "2.84", {"hostId"}),
        ("admin", "2.84", {"hostId", "host", "traceback", "details"}),
    ],
)
async def test_events_tell_each_reader_what_is_for_them(
    api: ComputeApi, who: str, version: str, fields: set[str] | None
) -> None:
    server = await api.have_server()
    await with_action(api, server, "req-1", "reboot", "compute1")
    shown = await api.got(who, f"GET /servers/{server.id}/os-instance-actions/req-1", version=version)
    action = shown["instanceAction"]
    if fields is None:
        assert "events" not in action
        return
    (event,) = action["events"]
    assert set(event) == {"event", "start_time", "finish_time", "result"} | fields
    assert (event["event"], event["result"]) == ("compute_reboot_instance", "Error")
    if "hostId" in fields:
        assert event["hostId"] == hashlib.sha224(f"{server.project}compute1".encode()).hexdigest()


async def test_what_is_not_here_yet_says_so(api: ComputeApi) -> None:
    server = await api.have_server()
    assert await api.got("demo", f"GET /servers/{server.id}/os-volume_attachments") == {"volumeAttachments": []}
    assert await api.got("demo", f"GET /servers/{server.id}/os-server-password") == {"password": ""}
    await api.refused("admin", f"GET /servers/{server.id}/diagnostics", 501)
    await api.refused("demo", f"POST /servers/{server.id}/remote-consoles", 501, {}, "2.6")
    await api.refused("demo", "GET /os-networks", 410)
    await api.refused("demo", "GET /os-nothing", 404)
    aliases = [each["alias"] for each in (await api.got("demo", "GET /extensions"))["extensions"]]
    assert "os-evacuate" in aliases
    assert (await api.got("demo", "GET /extensions/servers"))["extension"]["name"] == "Servers"
    await api.refused("demo", "GET /extensions/none", 404)
