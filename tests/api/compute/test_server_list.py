"""Lists of servers: whose, which, in which order, in pages."""

from datetime import timedelta

import pytest

from renova.api.compute.text_filter import text_filter
from renova.model.flavor import Flavor
from renova.model.server import KeyPair, TaskState, VmState

from .compute_cloud import OTHER_IMAGE, ComputeApi
from .test_keypairs import ED25519


async def names(api: ComputeApi, query: str = "", who: str = "demo", version: str = "2.90") -> list[str]:
    """Return the names in the list, which must be the same brief and detailed."""
    brief = await api.got(who, f"GET /servers?{query}", version=version)
    detailed = await api.got(who, f"GET /servers/detail?{query}", version=version)
    found = [server["name"] for server in brief["servers"]]
    assert [server["name"] for server in detailed["servers"]] == found
    return found


async def test_the_newest_come_first_and_only_the_callers_own(api: ComputeApi) -> None:
    for name in ("a", "b"):
        await api.have_server(name=name)
    await api.have_server("admin", name="c")
    assert await names(api) == ["b", "a"]
    assert await names(api, who="admin") == ["c"]


async def test_brief_entries_have_little(api: ComputeApi) -> None:
    await api.have_server()
    ((entry),) = (await api.got("demo", "GET /servers"))["servers"]
    assert set(entry) == {"id", "name", "links"}


async def test_all_projects_are_for_administrators(api: ComputeApi) -> None:
    await api.have_server(name="a")
    await api.have_server("admin", name="c")
    for query in ("all_tenants=1", "all_tenants=True", "all_tenants="):
        assert await names(api, query, "admin") == ["c", "a"]
        await api.refused("demo", f"GET /servers?{query}", 403)
    assert await names(api, "all_tenants=0") == ["a"]
    assert await names(api, f"all_tenants=1&project_id={api.kept['demo_project']}", "admin") == ["a"]
    assert await names(api, f"project_id={api.kept['demo_project']}", "admin") == ["c"]
    await api.refused("admin", "GET /servers?all_tenants=perhaps", 400)


async def test_filters_choose(api: ComputeApi) -> None:
    host = await api.have_host("compute1")
    big = Flavor(id="big", name="big", vcpus=2, memory_mb=1024, root_gb=2)
    await api.have_server(name="web-1", tags=("blue", "round"), key=KeyPair("mine", "ssh-rsa A"))
    await api.have_server(name="web-2", vm_state=VmState.STOPPED, locked_by="owner", tags=("blue",))
    await api.have_server(name="DB", image=OTHER_IMAGE, flavor=big, task_state=TaskState.REBOOTING)
    await api.have_server(name="x.y", vm_state=VmState.ERROR, host=host, host_name="compute1", networks=())
    found = {
        "name=web": ["web-2", "web-1"],
        "name=db": ["DB"],
        "name=^web-1$": ["web-1"],
        "name=w.*1": ["web-1"],
        "name=x%5C.y": ["x.y"],
        "status=ACTIVE": ["web-1"],
        "status=active&status=shutoff": ["web-2", "web-1"],
        "status=REBOOT": ["DB"],
        "status=ERROR": ["x.y"],
        "status=MIGRATING": [],
        "vm_state=stopped": ["web-2"],
        "task_state=rebooting": ["DB"],
        "power_state=1": ["x.y", "DB", "web-2", "web-1"],
        f"image={OTHER_IMAGE}": ["DB"],
        "flavor=big": ["DB"],
        "flavor=none": [],
        "ip=10.0.0.5": ["DB", "web-2", "web-1"],
        "ip=10.0.1": [],
        "tags=blue,round": ["web-1"],
        "tags-any=round,green": ["web-1"],
        "not-tags=blue,round": ["x.y", "DB", "web-2"],
        "not-tags-any=blue": ["x.y", "DB"],
        "locked=true": ["web-2"],
        "locked=false": ["x.y", "DB", "web-1"],
        "key_name=mine": ["web-1"],
        "availability_zone=mars": [],
    }
    for query, expected in found.items():
        assert await names(api, query) == expected, query
    assert await names(api, "host=compute1&all_tenants=1", "admin") == ["x.y"]
    assert len(await names(api, "host=compute2")) == 4  # not for users: dropped
    assert len(await names(api, "vm_state=stopped", version="2.82")) == 4  # nor this, before 2.83


async def test_deleted_servers_are_for_administrators_and_followers(api: ComputeApi) -> None:
    await api.have_server(name="old", vm_state=VmState.DELETED, deleted=True)
    began = api.clock.now
    await api.have_server(name="gone", vm_state=VmState.DELETED, deleted=True)
    await api.have_server(name="there")
    assert await names(api, "deleted=True") == ["there"]
    assert await names(api, "deleted=True&all_tenants=1", "admin") == ["gone", "old"]
    assert await names(api, "status=deleted&all_tenants=1", "admin") == ["gone", "old"]
    await api.refused("demo", "GET /servers?status=deleted", 403)
    since = (began + timedelta(milliseconds=500)).isoformat().replace("+00:00", "Z")
    assert await names(api, f"changes-since={since}") == ["there", "gone"]
    assert await names(api, f"changes-since={since}&deleted=false&all_tenants=1", "admin") == ["there"]
    assert await names(api, f"changes-before={since}") == []
    for query in (f"changes-since={since}&changes-before=2020-01-01", "changes-since=yesterday"):
        await api.refused("demo", f"GET /servers?{query}", 400, version="2.66")


async def test_pages_lead_on_without_gap_or_repetition(api: ComputeApi) -> None:
    for number in range(7):
        await api.have_server(name=f"s{number}", vm_state=VmState.STOPPED if number % 2 else VmState.ACTIVE)
    for query in ("", "sort_key=vm_state&sort_dir=asc", "name=s", "sort_key=task_state", "sort_key=launched_at"):
        whole = await names(api, query)
        assert len(whole) == 7
        path: str | None = f"/servers?{query}&limit=3" if query else "/servers?limit=3"
        pieces: list[str] = []
        while path:
            answer = await api.got("demo", f"GET {path}", version="2.90")
            pieces += [server["name"] for server in answer["servers"]]
            links = answer.get("servers_links")
            path = links[0]["href"].removeprefix("http://cloud.example/compute/v2.1") if links else None
        assert pieces == whole, query


async def test_the_order_may_be_chosen(api: ComputeApi) -> None:
    for name in ("b", "c", "a"):
        await api.have_server(name=name)
    assert await names(api, "sort_key=display_name&sort_dir=asc") == ["a", "b", "c"]
    assert await names(api, "sort_key=display_name") == ["c", "b", "a"]
    assert await names(api, "sort_key=vm_state&sort_key=display_name&sort_dir=desc&sort_dir=asc") == ["a", "b", "c"]
    assert await names(api, "sort_key=host", "admin") == []
    await api.refused("demo", "GET /servers?sort_key=host", 403)


@pytest.mark.parametrize(
    ("query", "version"),
    [
        ("limit=-1", "2.1"),
        ("limit=x", "2.1"),
        ("marker=none", "2.1"),
        ("sort_key=colour", "2.1"),
        ("sort_dir=up", "2.1"),
        ("status=SLEEPY", "2.38"),
        ("colour=red", "2.75"),
        ("sort_key=vcpus", "2.75"),
        ("power_state=on", "2.83"),
        ("locked=perhaps", "2.73"),
    ],
)
async def test_what_cannot_be_answered_is_refused(api: ComputeApi, query: str, version: str) -> None:
    await api.refused("demo", f"GET /servers?{query}", 400, version=version)


@pytest.mark.parametrize(
    ("query", "version"), [("colour=red", "2.74"), ("sort_key=vcpus", "2.74"), ("locked=x", "2.72")]
)
async def test_what_old_clients_send_in_vain_is_ignored(api: ComputeApi, query: str, version: str) -> None:
    await api.have_server(name="a")
    assert await names(api, query, version=version) == ["a"]


async def test_a_marker_is_a_server_of_those_that_are_listed(api: ComputeApi) -> None:
    mine, theirs = await api.have_server(name="a"), await api.have_server("admin", name="m")
    gone = await api.have_server(name="b", vm_state=VmState.DELETED, deleted=True)
    project = await api.project("demo")
    for marker, known in ((theirs, False), (mine, True), (gone, True)):
        for key in ("created_at", "display_name", "power_state"):
            answer = await api.compute("demo", f"GET /servers?sort_key={key}&marker={marker.id}")
            assert answer.status_code == (200 if known else 400), f"{marker.name} {key}"
        status = (await api.compute("admin", f"GET /servers?all_tenants=1&marker={marker.id}")).status_code
        assert status == 200
        of_project = f"GET /servers?all_tenants=1&project_id={project}&marker={marker.id}"
        assert (await api.compute("admin", of_project)).status_code == (200 if known else 400)
        usage = f"GET /os-simple-tenant-usage/{project}?marker={marker.id}"
        assert (await api.compute("demo", usage, version="2.40")).status_code == (200 if known else 400)


async def test_who_asks_for_no_entries_gets_none_and_no_link_to_more(api: ComputeApi) -> None:
    server = await api.have_server(host=await api.have_host("compute1", live=True), host_name="compute1")
    await api.have_flavor()
    await api.got("admin", "POST /os-keypairs", {"keypair": {"name": "mine", "public_key": ED25519}})
    await api.got("admin", "POST /os-server-groups", {"server_group": {"name": "g", "policy": "affinity"}}, "2.64")
    live = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
    await api.got("admin", f"POST /servers/{server.id}/action", live, "2.25", 202)
    lists = {
        "/servers?all_tenants=1&": "servers",
        "/servers/detail?all_tenants=1&": "servers",
        "/flavors?": "flavors",
        "/os-keypairs?": "keypairs",
        "/os-migrations?": "migrations",
        "/os-hypervisors?": "hypervisors",
        f"/servers/{server.id}/os-instance-actions?": "instanceActions",
    }
    for path, name in lists.items():
        assert len((await api.got("admin", f"GET {path}limit=1", version="2.75"))[name]) == 1, path
        assert await api.got("admin", f"GET {path}limit=0", version="2.75") == {name: []}, path
    groups = (await api.got("admin", "GET /os-server-groups?limit=0", version="2.75"))["server_groups"]
    assert [group["name"] for group in groups] == ["g"], "where Nova takes 0 for no limit"


async def test_an_unknown_status_finds_nothing_before_2_38(api: ComputeApi) -> None:
    await api.have_server()
    assert await names(api, "status=SLEEPY", version="2.37") == []


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("", "anything", True),
        ("web", "my-web-1", True),
        ("^web", "my-web", False),
        ("web$", "my-web", True),
        ("^web$", "web", True),
        ("^web$", "web1", False),
        ("a.c", "xabcx", True),
        ("a.*c", "a....c", True),
        ("^a.*c$", "abcd", False),
        ("^a.*b.*c$", "a-b-b-c", True),
        ("a.*a", "a", False),
        (".*", "", True),
        ("^.*$", "x", True),
        ("^a.*a$", "a", False),
        ("^ab.*bc$", "abc", False),
        ("A\\.B", "a.b", True),
        ("A\\.B", "axb", False),
        ("(x", "a(x)", True),
        ("a|b", "a", False),
        ("^$", "", True),
        ("^$", "a", False),
    ],
)
def test_text_filters_find_what_they_say(pattern: str, text: str, fits: bool) -> None:
    assert text_filter(pattern)(text) is fits


def test_no_filter_takes_long() -> None:
    evil = "a" + ".*a" * 80 + "b"
    assert text_filter(evil)("a" * 255) is False
