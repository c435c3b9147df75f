"""What would become of servers if hosts died now, as administrators ask it; nothing is changed by asking."""

from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from renova.hosts.registration import enrol, welcome
from renova.model.flavor import Flavor
from renova.model.host import HostState, Role
from renova.model.ids import HostId, ImageId, ServerId
from renova.operations.parts.needs import amounts
from renova.store import aggregates, hosts, rights, servers
from renova.store.database import Tx
from renova.store.placement import allocations, claims, inventories
from tests.api.hosts.test_cluster import asked
from tests.api.hosts.test_hosts import HostsApi, api
from tests.unit.hosts.hellos import FACTS, TIMES, a_hello
from tests.unit.store.tables import PROJECT, USER, add_server, lease, prove

assert api, "a fixture"

BIG = Flavor(id="1", name="big", vcpus=1, memory_mb=10240, root_gb=1)
IDS = [ServerId(f"5e000000-0000-4000-8000-00000000000{nth}") for nth in range(5)]


async def have_fleet(api: HostsApi, *on: int) -> None:
    """Have three hosts, of 16 GiB each, and on each of these a big server; the last host is in the attic."""

    def work(tx: Tx) -> None:
        for nth in range(3):
            host = HostId(f"id-{nth}")
            enrol(tx, host, f"host{nth}", "certificate")
            welcome(
                tx, host, a_hello(host, name=f"host{nth}", facts=replace(FACTS, storage_id=f"storage-{nth}")), TIMES
            )
        aggregates.add_host(tx, aggregates.add(tx, "uuid", "attic", {"availability_zone": "attic"}), HostId("id-2"))
        for server, nth in zip(IDS, on, strict=False):
            host = HostId(f"id-{nth}")
            add_server(tx, server, host=host, flavor=BIG, image=ImageId("image"), launched_at=tx.now)
            row = servers.get(tx, server)
            assert row is not None
            claims.claim(tx, server, PROJECT, USER, host, amounts(row))
            rights.grant(tx, server, host)

    await api.cloud.database.transact(work)
    for nth in range(3):
        api.cloud.hosts.leases.begin(await api.cloud.database.read(partial(lease, host=HostId(f"id-{nth}"))))


async def rehearsal(api: HostsApi, query: str) -> dict[str, Any]:
    status, answer = await asked(api, "GET", f"/rehearsal?{query}")
    assert status == 200, answer
    found: dict[str, Any] = answer["rehearsal"]
    return found


async def test_each_server_is_told_of_with_where_it_goes_when_and_what_is_lost(api: HostsApi) -> None:
    await have_fleet(api, 0, 1)
    found = await rehearsal(api, "host=host0")
    assert found == {
        "hosts": ["host0"],
        "dead_already": [],
        "cut_off_already": [],
        "circles": [],
        "summary": {
            "servers": 1,
            "placed": 1,
            "unplaceable": 0,
            "left": 0,
            "stopped": 0,
            "disks_kept": 0,
            "disks_lost": 1,
            "waves": 1,
            "first_up_s": 82.0,
            "all_done_s": 82.0,
        },
        "steps": [
            {
                "server": IDS[0],
                "name": f"name-of-{IDS[0]}",
                "project": PROJECT,
                "source": "host0",
                "outcome": "placed",
                "reason": "",
                "priority": 500,
                "after": [],
                "target": "host2",
                "disks": "lost",
                "local_disks": ["root"],
                "wave": 1,
                "begun_s": 37.0,
                "done_s": 82.0,
                "notes": [],
            }
        ],
    }


async def test_who_finds_no_place_is_told_in_the_schedulers_words_and_dead_hosts_are_counted_in(api: HostsApi) -> None:
    await have_fleet(api, 0, 1, 2)
    await api.cloud.database.transact(lambda tx: prove(tx, HostId("id-1")))
    found = await rehearsal(api, "host=host0")
    assert found["dead_already"] == ["host1"]
    assert (found["summary"]["servers"], found["summary"]["unplaceable"]) == (2, 2)
    assert found["steps"][0]["reason"] == (
        "No valid host was found. 1 host: down; 1 host: needs 10240 MEMORY_MB, 5632 free; "
        "1 host: the server's former host, or it failed there."
    )


async def test_a_zone_dies_as_a_whole(api: HostsApi) -> None:
    await have_fleet(api, 0, 1, 2)
    assert (await rehearsal(api, "zone=nova"))["hosts"] == ["host0", "host1"]
    assert (await rehearsal(api, "zone=attic"))["hosts"] == ["host2"]
    assert (await rehearsal(api, "host=host0&host=host2&host=host0"))["hosts"] == ["host0", "host2"]


async def test_the_failure_that_is_not_survived_is_named_with_its_server(api: HostsApi) -> None:
    await have_fleet(api, 0, 1)
    status, one = await asked(api, "GET", "/survival?failures=1")
    assert (status, one["survival"]["survived"], one["survival"]["of"]) == (200, True, 3)
    _, two = await asked(api, "GET", "/survival?failures=2&seconds=60&plans=100")
    assert (two["survival"]["survived"], two["survival"]["of"]) == (False, 6)
    assert two["survival"]["hosts"] == ["host0", "host1"]
    assert two["survival"]["server"] in IDS
    assert two["survival"]["reason"].startswith("No valid host was found. ")


async def test_to_rehearse_changes_nothing(api: HostsApi) -> None:
    await have_fleet(api, 0, 1)

    def everything(tx: Tx) -> object:
        return [
            hosts.every(tx),
            servers.find(tx),
            rights.every(tx),
            [allocations.held(tx, server) for server in IDS],
            [inventories.inventory(tx, HostId(f"id-{nth}")) for nth in range(3)],
        ]

    before = await api.cloud.database.read(everything)
    await rehearsal(api, "zone=nova")
    await asked(api, "GET", "/survival?failures=3")
    assert await api.cloud.database.read(everything) == before


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("rehearsal", 400, "Name the hosts that die"),
        ("rehearsal?host=host0&zone=nova", 400, "and not both"),
        ("rehearsal?host=mars", 404, "There is no host mars: `renova host list`"),
        ("rehearsal?zone=mars", 404, "There is no host in an availability zone mars: see `openstack"),
        ("rehearsal?host=store", 400, "it is a storage host"),
        ("survival", 400, "failures must be a whole number from 1 to 10"),
        ("survival?failures=0", 400, "failures must be"),
        ("survival?failures=11", 400, "failures must be"),
        ("survival?failures=²", 400, "failures must be"),
        ("survival?failures=1&seconds=601", 400, "seconds must be a whole number from 1 to 600"),
        ("survival?failures=1&plans=none", 400, "plans must be"),
    ],
)
async def test_what_cannot_be_asked_is_refused_and_says_why(api: HostsApi, query: str, status: int, said: str) -> None:
    def work(tx: Tx) -> None:
        hosts.add(tx, HostId("store"), "store", "", "certificate")
        hosts.change(tx, HostId("store"), role=Role.STORAGE, state=HostState.UP)

    await have_fleet(api)
    await api.cloud.database.transact(work)
    found, answer = await asked(api, "GET", f"/{query}")
    assert found == status
    assert said in answer["error"]["message"]


@pytest.mark.parametrize("path", ["/rehearsal?host=host0", "/survival?failures=1"])
async def test_nobody_but_administrators_may_ask(api: HostsApi, path: str) -> None:
    await have_fleet(api)
    assert (await asked(api, "GET", path, who="demo"))[0] == 403
