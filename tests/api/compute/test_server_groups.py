"""Server groups at every microversion, their quotas, and servers that are created into them."""

from typing import Any

import pytest

from renova.model.ids import ServerId
from renova.store import servers

from .compute_cloud import IMAGE, NETWORK, ComputeApi

PATH = "/os-server-groups"
NEW: dict[str, Any] = {"name": "vm", "imageRef": IMAGE, "flavorRef": "small"}


async def made(api: ComputeApi, version: str = "2.64", who: str = "demo", **wish: Any) -> dict[str, Any]:
    usual = (
        {"name": "group", "policy": "affinity"} if version >= "2.64" else {"name": "group", "policies": ["affinity"]}
    )
    group: dict[str, Any] = (await api.got(who, f"POST {PATH}", {"server_group": {**usual, **wish}}, version))[
        "server_group"
    ]
    return group


async def created(api: ComputeApi, group: str, **change: Any) -> ServerId:
    body = {"server": {**NEW, **change}, "os:scheduler_hints": {"group": group}}
    return ServerId((await api.got("demo", "POST /servers", body, status=202))["server"]["id"])


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        ("2.1", {"policies": ["affinity"], "metadata": {}}),
        ("2.12", {"policies": ["affinity"], "metadata": {}}),
        ("2.13", {"policies": ["affinity"], "metadata": {}, "project_id": "", "user_id": ""}),
        ("2.63", {"policies": ["affinity"], "metadata": {}, "project_id": "", "user_id": ""}),
        ("2.64", {"policy": "affinity", "rules": {}, "project_id": "", "user_id": ""}),
        ("2.104", {"policy": "affinity", "rules": {}, "project_id": "", "user_id": ""}),
    ],
)
async def test_a_group_shows_what_its_microversion_has(api: ComputeApi, version: str, fields: dict[str, Any]) -> None:
    group = await made(api, "2.64" if version == "2.104" else version)
    project = {"project_id": await api.project("demo"), "user_id": api.kept["demo_user"]}
    expected = {"id": group["id"], "name": "group", "members": []} | {
        name: project.get(name, value) for name, value in fields.items()
    }
    assert (await api.got("demo", f"GET {PATH}/{group['id']}", version=version))["server_group"] == expected
    assert (await api.got("demo", f"GET {PATH}", version=version))["server_groups"] == [expected]


@pytest.mark.parametrize(
    ("version", "wish"),
    [
        ("2.15", {"policies": ["soft-affinity"]}),
        ("2.63", {"policies": ["soft-anti-affinity"]}),
        ("2.1", {"policies": ["anti-affinity"]}),
        ("2.64", {"policy": "soft-anti-affinity"}),
        ("2.64", {"policy": "anti-affinity", "rules": {"max_server_per_host": 3}}),
        ("2.64", {"policy": "anti-affinity", "rules": {}}),
    ],
)
async def test_a_group_has_the_policy_it_was_given(api: ComputeApi, version: str, wish: dict[str, Any]) -> None:
    group = await made(api, version, **wish)
    assert wish.items() <= group.items()
    assert (await api.got("demo", f"GET {PATH}/{group['id']}", version=version))["server_group"] == group


async def test_a_number_may_come_as_a_text(api: ComputeApi) -> None:
    group = await made(api, policy="anti-affinity", rules={"max_server_per_host": "2"})
    assert group["rules"] == {"max_server_per_host": 2}


@pytest.mark.parametrize(
    ("version", "group"),
    [
        ("2.1", {"name": "g"}),
        ("2.1", {"policies": ["affinity"]}),
        ("2.1", {"name": "", "policies": ["affinity"]}),
        ("2.1", {"name": "g", "policies": []}),
        ("2.1", {"name": "g", "policies": ["legacy"]}),
        ("2.1", {"name": "g", "policies": ["affinity", "anti-affinity"]}),
        ("2.1", {"name": "g", "policies": "affinity"}),
        ("2.14", {"name": "g", "policies": ["soft-affinity"]}),
        ("2.63", {"name": "g", "policy": "affinity"}),
        ("2.63", {"name": "g", "policies": ["affinity"], "rules": {}}),
        ("2.64", {"name": "g", "policies": ["affinity"]}),
        ("2.64", {"name": "g", "policy": "affinity", "rules": {"max_server_per_host": 2}}),
        ("2.64", {"name": "g", "policy": "soft-anti-affinity", "rules": {"max_server_per_host": 2}}),
        ("2.64", {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 0}}),
        ("2.64", {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": -1}}),
        ("2.64", {"name": "g", "policy": "anti-affinity", "rules": {"least_server_per_host": 1}}),
        ("2.64", {"name": "g", "policy": "affinity", "colour": "red"}),
    ],
)
async def test_a_wrong_group_is_refused_and_nothing_kept(api: ComputeApi, version: str, group: dict[str, Any]) -> None:
    await api.refused("demo", f"POST {PATH}", 400, {"server_group": group}, version)
    assert (await api.got("demo", f"GET {PATH}"))["server_groups"] == []


async def test_groups_are_their_projects(api: ComputeApi) -> None:
    ours, theirs = await made(api), await made(api, who="admin")
    listed = [group["id"] for group in (await api.got("demo", f"GET {PATH}?all_projects=1"))["server_groups"]]
    assert listed == [ours["id"]]
    listed = [group["id"] for group in (await api.got("admin", f"GET {PATH}"))["server_groups"]]
    assert listed == [theirs["id"]]
    listed = [group["id"] for group in (await api.got("admin", f"GET {PATH}?all_projects=1"))["server_groups"]]
    assert listed == [ours["id"], theirs["id"]]
    await api.refused("demo", f"GET {PATH}/{theirs['id']}", 404)
    await api.refused("demo", f"DELETE {PATH}/{theirs['id']}", 404)
    await api.got("admin", f"GET {PATH}/{ours['id']}")
    await api.refused("reader", f"POST {PATH}", 403, {"server_group": {"name": "g", "policies": ["affinity"]}})


async def test_a_long_list_comes_in_pieces(api: ComputeApi) -> None:
    for number in range(4):
        await made(api, name=f"group-{number}")

    async def names(query: str) -> list[str]:
        found = await api.got("demo", f"GET {PATH}?{query}")
        return [group["name"] for group in found["server_groups"]]

    assert await names("limit=2") == ["group-0", "group-1"]
    assert await names("offset=3") == ["group-3"]
    assert await names("limit=1&offset=1") == ["group-1"]
    assert await names("offset=9") == []
    for query in ("limit=-1", "offset=-1", "offset=x"):
        await api.refused("demo", f"GET {PATH}?{query}", 400)
    await api.refused("demo", f"GET {PATH}?colour=red", 400, version="2.75")


async def test_servers_are_created_into_a_group_and_shown_there(api: ComputeApi) -> None:
    await api.have_flavor()
    group = await made(api)
    one, two = await created(api, group["id"]), await created(api, group["id"].upper())
    shown = (await api.got("demo", f"GET {PATH}/{group['id']}"))["server_group"]
    assert shown["members"] == [one, two]
    server = (await api.got("demo", f"GET /servers/{one}", version="2.71"))["server"]
    assert server["server_groups"] == [group["id"]]
    assert "server_groups" not in (await api.got("demo", f"GET /servers/{one}", version="2.70"))["server"]
    renamed = await api.got("demo", f"PUT /servers/{one}", {"server": {"name": "new"}}, "2.71")
    assert renamed["server"]["server_groups"] == [group["id"]]
    await api.cloud.database.transact(lambda tx: servers.change(tx, one, deleted=True))
    assert (await api.got("demo", f"GET {PATH}"))["server_groups"][0]["members"] == [two]


async def test_deleting_a_group_leaves_its_servers(api: ComputeApi) -> None:
    await api.have_flavor()
    group = await made(api)
    server = await created(api, group["id"])
    await api.got("demo", f"DELETE {PATH}/{group['id']}", status=204)
    await api.refused("demo", f"GET {PATH}/{group['id']}", 404)
    await api.refused("demo", f"DELETE {PATH}/{group['id']}", 404)
    shown = (await api.got("demo", f"GET /servers/{server}", version="2.100"))["server"]
    assert (shown["server_groups"], shown["scheduler_hints"]) == ([], {"group": group["id"]})


@pytest.mark.parametrize("hints", ["os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"])
async def test_a_server_needs_a_group_of_its_own_project(api: ComputeApi, hints: str) -> None:
    await api.have_flavor()
    theirs = await made(api, who="admin")
    for group in (str(NETWORK), theirs["id"], "no uuid", 7, None):
        await api.refused("demo", "POST /servers", 400, {"server": NEW, hints: {"group": group}})
    ours = await made(api)
    await api.got("demo", "POST /servers", {"server": NEW, hints: {"group": ours["id"]}}, status=202)
    assert len(await api.cloud.database.read(servers.find)) == 1


@pytest.mark.parametrize("hint", ["different_host", "same_host"])
async def test_servers_in_hints_are_known_and_of_the_project(api: ComputeApi, hint: str) -> None:
    await api.have_flavor()
    ours, theirs = await api.have_server(), await api.have_server("admin")
    for named in (ours.id, [ours.id], [ours.id.upper()]):
        body = {"server": NEW, "os:scheduler_hints": {hint: named}}
        await api.got("demo", "POST /servers", body, status=202)
    refused: list[Any] = [theirs.id, [ours.id, theirs.id], str(NETWORK), "x", [1], {}]
    for wrong in refused:
        await api.refused("demo", "POST /servers", 400, {"server": NEW, "os:scheduler_hints": {hint: wrong}})


async def test_a_project_has_as_many_groups_as_its_quota_says(api: ComputeApi) -> None:
    project = await api.project("demo")
    await api.got("admin", f"PUT /os-quota-sets/{project}", {"quota_set": {"server_groups": 2}})
    await made(api)
    group = await made(api)
    body = {"server_group": {"name": "g", "policies": ["affinity"]}}
    assert "too many server groups" in await api.refused("demo", f"POST {PATH}", 403, body)
    limits = (await api.got("demo", "GET /limits"))["limits"]["absolute"]
    assert (limits["maxServerGroups"], limits["totalServerGroupsUsed"]) == (2, 2)
    quota = (await api.got("demo", f"GET /os-quota-sets/{project}/detail"))["quota_set"]
    assert quota["server_groups"] == {"limit": 2, "in_use": 2, "reserved": 0}
    await api.refused("admin", f"PUT /os-quota-sets/{project}", 400, {"quota_set": {"server_groups": 1}})
    await api.got("demo", f"DELETE {PATH}/{group['id']}", status=204)
    await made(api)


async def test_a_group_has_as_many_members_as_the_quota_says(api: ComputeApi) -> None:
    await api.have_flavor()
    project = await api.project("demo")
    await api.got("admin", f"PUT /os-quota-sets/{project}", {"quota_set": {"server_group_members": 2}})
    group = await made(api)
    several = {"server": {**NEW, "min_count": 3}, "os:scheduler_hints": {"group": group["id"]}}
    assert "too many servers in group" in await api.refused("demo", "POST /servers", 403, several)
    assert await api.cloud.database.read(servers.find) == []
    first = await created(api, group["id"])
    await created(api, group["id"])
    body = {"server": NEW, "os:scheduler_hints": {"group": group["id"]}}
    await api.refused("demo", "POST /servers", 403, body)
    await api.cloud.database.transact(lambda tx: servers.change(tx, first, deleted=True))
    await created(api, group["id"])
