"""Which host an evacuation goes to (rows B8 to B15): never one that a policy forbids, nor another than was asked for.

Every story runs on the simulated cloud, where evacuations really race: they are submitted together and run at once.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import pytest

from renova.model.errors import Refused
from renova.model.group import GroupPolicy, ServerGroup
from renova.model.ids import GroupId, ServerId
from renova.model.server import Server, VmState
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.simulation.cloud import SimulatedCloud
from renova.simulation.loop import run_virtual
from renova.store import aggregates, migrations, server_groups, servers
from renova.store.database import Tx
from tests.operations.crashes import controller_fuse
from tests.operations.story import FLAVOR, PROJECT, USER, Told

Story = Callable[[Told], Awaitable[None]]
GROUP = GroupId("group-1")


def tell(story: Story, count: int = 4) -> None:
    """Run a story on a fresh cloud of this many hosts, give all power back, and check what must always hold then."""

    async def whole() -> None:
        told = await Told(count=count).begin()
        await story(told)
        await come_back(told)
        await told.check()
        await told.cloud.down()

    run_virtual(whole())


async def come_back(told: Told) -> None:
    """Switch all dead hosts on again: what was not evacuated starts there, and what was is cleaned up."""
    dead = [name for name, host in told.cloud.hosts.items() if not host.powered]
    for name in dead:
        await told.cloud.power_on(name)
    for name in dead:
        await told.host_up(name)

    def off(tx: Tx) -> list[ServerId]:
        active = servers.find(tx, [servers.servers.c.vm_state == VmState.ACTIVE])
        return [server.id for server in active if told.cloud.running(server.id) != [server.host_name]]

    while await told.cloud.database.read(off):
        await told.cloud.clock.sleep(0.1)
    for server in await told.cloud.database.read(servers.find):
        await told.idle(server.id)


async def have_group(told: Told, policy: GroupPolicy, most: int | None = None) -> None:
    group = ServerGroup(id=GROUP, project=PROJECT, user=USER, name="group", policy=policy, max_server_per_host=most)
    await told.cloud.database.transact(lambda tx: server_groups.add(tx, group))


async def have_zone(told: Told, zone: str, *names: str) -> None:
    def work(tx: Tx) -> None:
        aggregate = aggregates.add(tx, f"uuid-of-{zone}", zone, {"availability_zone": zone})
        for name in names:
            aggregates.add_host(tx, aggregate, told.cloud.hosts[name].id)

    await told.cloud.database.transact(work)
    told.cloud.cloud.fleet.stale()


async def die(told: Told, *names: str) -> None:
    """Cut the power of these hosts, and have them proven dead."""
    for name in names:
        await told.cloud.cut_power(name)
    for name in names:
        host = told.cloud.hosts[name].id
        await told.down(host)
        assert await told.cloud.cloud.hosts.seek_proof(host)


async def evacuate(told: Told, *wanted: ServerId, **wish: object) -> list[Server]:
    """Have these servers evacuated at once; return them as they are left."""
    for server in wanted:
        await told.ask(accept_evacuate, server, Evacuation(**wish))  # type: ignore[arg-type]
    return [await told.idle(server) for server in wanted]


def break_start(cloud: SimulatedCloud, name: str) -> None:
    async def start(_guest: object) -> object:
        raise Refused("no such machine type")

    cloud.hosts[name].hypervisor.start = start  # type: ignore[assignment,method-assign]


def hosts_of(found: list[Server]) -> list[str]:
    return [server.host_name or "" for server in found]


def reason(server: Server) -> str:
    assert server.fault is not None, f"{server.name} has no fault"
    return server.fault.message


def test_b8_what_was_asked_of_one_request_does_not_bind_the_next() -> None:
    async def story(told: Told) -> None:
        server = await told.created(host="host1")  # forced there when it was created
        await die(told, "host1", "host2")
        (refused,) = await evacuate(told, server, host="host2", forced=True)  # and asked for a host that is dead, too
        assert "down" in reason(refused)
        (moved,) = await evacuate(told, server)
        assert moved.host_name in ("host3", "host4")
        first = moved.host_name or ""
        await die(told, first)
        (again,) = await evacuate(told, server)
        assert again.host_name not in ("host1", "host2", first), (
            "hosts that were to be left out then are not wanted now"
        )

    tell(story)


def test_b8_a_host_that_was_left_by_one_evacuation_serves_the_next() -> None:
    """In a cloud of two hosts a server goes to and fro: which host it left is forgotten at once."""

    async def story(told: Told) -> None:
        server = await told.created(host="host1")
        for source, destination in (("host1", "host2"), ("host2", "host1")):
            await die(told, source)
            (moved,) = await evacuate(told, server)
            assert moved.host_name == destination, reason(moved)
            await told.back(source)

    tell(story, count=2)


@pytest.mark.parametrize("forced", [False, True])
def test_b9_a_host_that_was_asked_for_gets_the_server_or_nobody_does(forced: bool) -> None:
    async def story(told: Told) -> None:
        server = await told.created(host="host1")
        other = await told.created(host="host1")
        await die(told, "host1")
        (moved,) = await evacuate(told, server, host="host3", forced=forced)
        assert moved.host_name == "host3"
        break_start(told.cloud, "host2")
        (failed,) = await evacuate(told, other, host="host2", forced=forced)
        assert failed.host_name == "host1", "no other was asked for"
        assert "no such machine type" in reason(failed)

    tell(story)


@pytest.mark.parametrize("wish", [{}, {"host": "host2"}, {"host": "host2", "forced": True}], ids=str)
@pytest.mark.parametrize("vm_state", [VmState.ACTIVE, VmState.STOPPED])
def test_b10_a_server_that_fits_nowhere_stays_as_it_was_on_every_route(
    wish: dict[str, object], vm_state: VmState
) -> None:
    async def story(told: Told) -> None:
        most = msgspec.structs.replace(FLAVOR, memory_mb=60_000)
        server = await told.created(host="host1", flavor=most)
        for name in ("host2", "host3"):
            await told.created(host=name, flavor=most)
        await die(told, "host1")
        await told.cloud.database.transact(lambda tx: servers.change(tx, server, vm_state=vm_state))
        (refused,) = await evacuate(told, server, **wish)
        assert (refused.vm_state, refused.task_state, refused.host_name) == (vm_state, None, "host1")
        assert "needs 60000 MEMORY_MB" in reason(refused)
        (migration,) = await told.cloud.database.read(migrations.find)
        assert migration.status == "error"
        await told.cloud.database.transact(lambda tx: servers.change(tx, server, vm_state=VmState.ERROR))

    tell(story, count=3)


def test_b11_another_host_is_tried_where_none_was_asked_for() -> None:
    async def story(told: Told) -> None:
        server = await told.created(host="host1")
        await die(told, "host1")
        for name in ("host2", "host3"):
            break_start(told.cloud, name)
        (moved,) = await evacuate(told, server)
        assert (moved.host_name, moved.vm_state) == ("host4", VmState.ACTIVE)

    tell(story)


def test_b12_parallel_creates_keep_anti_affinity() -> None:
    async def story(told: Told) -> None:
        await have_group(told, GroupPolicy.ANTI_AFFINITY)
        made = [await told.create(f"server-{number}", group=GROUP) for number in range(6)]
        ended = [await told.idle(server) for server in made]
        placed = [server for server in ended if server.vm_state is VmState.ACTIVE]
        assert sorted(hosts_of(placed)) == ["host1", "host2", "host3", "host4"]
        left = [server for server in ended if server.vm_state is VmState.ERROR]
        assert len(left) == 2
        assert "4 hosts: has 1 of its server group already (anti-affinity)" in reason(left[0])

    tell(story)


def test_b12_parallel_evacuations_keep_anti_affinity() -> None:
    """Two members lose their hosts, and one host without a member is left: one gets it, the other is told why not."""

    async def story(told: Told) -> None:
        await have_group(told, GroupPolicy.ANTI_AFFINITY)
        one, two, _three = [await told.created(host=f"host{n}", group=GROUP) for n in (1, 2, 3)]
        await die(told, "host1", "host2")
        ended = await evacuate(told, one, two)
        assert sorted(hosts_of(ended)) in (["host1", "host4"], ["host2", "host4"])
        (refused,) = [server for server in ended if server.host_name != "host4"]
        assert "(anti-affinity)" in reason(refused)

    tell(story)


def test_b12_parallel_evacuations_keep_how_many_a_host_may_have() -> None:
    async def story(told: Told) -> None:
        await have_group(told, GroupPolicy.ANTI_AFFINITY, most=2)
        dead = [await told.created(host="host1", group=GROUP) for _ in range(2)]
        await told.created(host="host2", group=GROUP)
        await told.created(host="host3", group=GROUP)
        await die(told, "host1")
        # Both like host3 best: it has most room. It may have only one of them.
        ballast = msgspec.structs.replace(FLAVOR, memory_mb=40_000)
        await told.created(host="host2", flavor=ballast)
        assert sorted(hosts_of(await evacuate(told, *dead))) == ["host2", "host3"]

    tell(story, count=3)


@pytest.mark.parametrize("wish", [{"host": "host2"}, {"host": "host2", "forced": True}], ids=str)
def test_b12_naming_a_host_or_forcing_it_does_not_break_anti_affinity(wish: dict[str, object]) -> None:
    async def story(told: Told) -> None:
        await have_group(told, GroupPolicy.ANTI_AFFINITY)
        one = await told.created(host="host1", group=GROUP)
        await told.created(host="host2", group=GROUP)
        await die(told, "host1")
        (refused,) = await evacuate(told, one, **wish)
        assert refused.host_name == "host1"
        assert "(anti-affinity)" in reason(refused)

    tell(story)


@pytest.mark.parametrize("at", range(1, 10, 2))
def test_b12_a_controller_that_dies_meanwhile_keeps_anti_affinity(at: int) -> None:
    async def story(told: Told) -> None:
        await have_group(told, GroupPolicy.ANTI_AFFINITY)
        made = [await told.created(host=f"host{n}", group=GROUP) for n in (1, 2, 3)]
        await die(told, "host1", "host2")
        fuse = controller_fuse(told.cloud)
        for server in made[:2]:
            await told.ask(accept_evacuate, server, Evacuation())
        fuse.arm(at, before=False)
        ended = [await told.idle(server) for server in made]
        assert fuse.blown
        assert max(Counter(hosts_of(ended)).values()) == 1, hosts_of(ended)
        assert "host4" in hosts_of(ended)

    tell(story)


def test_b13_parallel_creates_keep_affinity() -> None:
    async def story(told: Told) -> None:
        await have_group(told, GroupPolicy.AFFINITY)
        made = [await told.create(f"server-{number}", group=GROUP) for number in range(5)]
        ended = [await told.idle(server) for server in made]
        assert len(set(hosts_of(ended))) == 1

    tell(story)


def test_b13_an_affinity_group_is_evacuated_to_one_host() -> None:
    async def story(told: Told) -> None:
        await have_group(told, GroupPolicy.AFFINITY)
        made = [await told.created(f"server-{number}", group=GROUP) for number in range(4)]
        (home,) = {(await told.get(server)).host_name for server in made}
        await die(told, home or "")
        moved = await evacuate(told, *made)
        assert len(set(hosts_of(moved))) == 1
        assert home not in hosts_of(moved)
        assert {server.vm_state for server in moved} == {VmState.ACTIVE}
        later = await told.created("later", group=GROUP)
        assert (await told.get(later)).host_name == moved[0].host_name

    tell(story)


def test_b13_the_group_goes_where_there_is_room_for_all_of_it() -> None:
    """The host that looks best to the first one alone has too little processors for the rest."""

    async def story(told: Told) -> None:
        await have_group(told, GroupPolicy.AFFINITY)
        wide = msgspec.structs.replace(FLAVOR, vcpus=16)
        made = [await told.created(f"server-{number}", host="host1", flavor=wide, group=GROUP) for number in range(4)]
        # 64 may be claimed of each host: host2 has 48 left, but more memory than host3.
        await told.created(host="host2", flavor=wide)
        await told.created(host="host3", flavor=msgspec.structs.replace(FLAVOR, memory_mb=60_000, vcpus=0))
        await die(told, "host1")
        assert hosts_of(await evacuate(told, *made)) == ["host3"] * 4

    tell(story, count=3)


def test_b13_a_member_that_finds_no_room_beside_the_others_is_placed_nowhere() -> None:
    async def story(told: Told) -> None:
        await have_group(told, GroupPolicy.AFFINITY)
        third = msgspec.structs.replace(FLAVOR, memory_mb=20_000)
        made = [await told.created(f"server-{number}", host="host1", flavor=third, group=GROUP) for number in range(3)]
        for name in ("host2", "host3"):
            await told.created(host=name, flavor=third)  # so that two of them fit, and three do not
        await die(told, "host1")
        ended = await evacuate(told, *made)
        moved = [server for server in ended if server.host_name != "host1"]
        (left,) = [server for server in ended if server.host_name == "host1"]
        assert len(moved) == 2
        assert len(set(hosts_of(moved))) == 1
        assert left.vm_state is VmState.ACTIVE or left.vm_state is VmState.ERROR
        assert "not where its server group is (affinity)" in reason(left)
        assert "needs 20000 MEMORY_MB" in reason(left)
        await come_back(told)
        assert told.cloud.running(left.id) == ["host1"], "it is started again at home"

    tell(story, count=3)


def test_b13_a_host_that_cannot_build_the_first_member_does_not_part_the_group() -> None:
    """Who comes back from there waits for those who are still on their way, and goes where they go in the end."""

    async def story(told: Told) -> None:
        await have_group(told, GroupPolicy.AFFINITY)
        made = [await told.created(f"server-{number}", host="host1", group=GROUP) for number in range(3)]
        await die(told, "host1")
        break_start(told.cloud, "host2")  # the first choice
        assert hosts_of(await evacuate(told, *made)) == ["host3"] * 3

    tell(story, count=3)


def test_b13_parallel_creates_stay_together_where_the_first_host_fails() -> None:
    async def story(told: Told) -> None:
        await have_group(told, GroupPolicy.AFFINITY)
        break_start(told.cloud, "host1")
        made = [await told.create(f"server-{number}", group=GROUP) for number in range(3)]
        ended = [await told.idle(server) for server in made]
        assert {server.vm_state for server in ended} == {VmState.ACTIVE}
        assert len(set(hosts_of(ended))) == 1

    tell(story, count=3)


def test_b13_a_group_on_two_dead_hosts_is_brought_together() -> None:
    """Members on either of them bind those on the other to nothing."""

    async def story(told: Told) -> None:
        made = [await told.created(host=name) for name in ("host1", "host2")]
        await have_group(told, GroupPolicy.AFFINITY)
        for server in made:
            await told.cloud.database.transact(partial(servers.change, server=server, group=GROUP))
        await die(told, "host1", "host2")
        moved = await evacuate(told, *made)
        assert len(set(hosts_of(moved))) == 1
        assert moved[0].host_name in ("host3", "host4")

    tell(story)


def test_b13_nothing_new_is_put_beside_a_group_whose_host_is_dead() -> None:
    """It may still come back there; elsewhere the group would be parted."""

    async def story(told: Told) -> None:
        await have_group(told, GroupPolicy.AFFINITY)
        first = await told.created(host="host1", group=GROUP)
        await die(told, "host1")
        refused = await told.idle(await told.create(group=GROUP))
        assert refused.vm_state is VmState.ERROR
        assert "not where its server group is (affinity)" in reason(refused)
        (moved,) = await evacuate(told, first)
        beside = await told.get(await told.created(group=GROUP))
        assert beside.host_name == moved.host_name

    tell(story)


@pytest.mark.parametrize("policy", [GroupPolicy.AFFINITY, GroupPolicy.ANTI_AFFINITY])
@pytest.mark.parametrize("asked_first", [False, True], ids=["deleted before", "deleted meanwhile"])
def test_b14_members_of_a_deleted_group_are_evacuated(policy: GroupPolicy, asked_first: bool) -> None:
    async def story(told: Told) -> None:
        await have_group(told, policy, most=2 if policy is GroupPolicy.ANTI_AFFINITY else None)
        made = [await told.created(f"server-{number}", host="host1", group=GROUP) for number in range(2)]
        await die(told, "host1")
        if asked_first:
            for server in made:
                await told.ask(accept_evacuate, server, Evacuation())
        await told.cloud.database.transact(lambda tx: server_groups.remove(tx, GROUP))
        moved = [await told.idle(server) for server in made] if asked_first else await evacuate(told, *made)
        assert "host1" not in hosts_of(moved)
        assert {(server.vm_state, server.group) for server in moved} == {(VmState.ACTIVE, None)}

    tell(story)


def test_b15_a_pinned_server_says_why_it_stays_and_may_be_unpinned() -> None:
    async def story(told: Told) -> None:
        await have_zone(told, "attic", "host1")
        server = await told.created(availability_zone="attic")
        assert (await told.get(server)).availability_zone == "attic"
        await die(told, "host1")
        (refused,) = await evacuate(told, server)
        assert "3 hosts: not in zone attic" in reason(refused)
        assert (refused.host_name, refused.availability_zone) == ("host1", "attic")
        await told.cloud.database.transact(lambda tx: servers.change(tx, server, pinned_zone=None))
        (moved,) = await evacuate(told, server)
        assert moved.host_name != "host1"
        assert moved.availability_zone == "nova"

    tell(story)


def test_b15_a_pinned_server_goes_to_another_host_of_its_zone() -> None:
    async def story(told: Told) -> None:
        await have_zone(told, "attic", "host1", "host4")
        server = await told.created(availability_zone="attic", host="host1")
        await die(told, "host1")
        (moved,) = await evacuate(told, server)
        assert (moved.host_name, moved.availability_zone) == ("host4", "attic")

    tell(story)


def test_b15_a_server_that_is_in_a_zone_by_chance_may_leave_it_and_says_so() -> None:
    async def story(told: Told) -> None:
        await have_zone(told, "attic", "host1")
        server = await told.created(host="host1")
        assert (await told.get(server)).pinned_zone is None
        await die(told, "host1")
        (moved,) = await evacuate(told, server)
        assert moved.availability_zone == "nova"
        (port,) = await told.cloud.networks.ports(server)
        assert port.device_owner == "compute:nova"

    tell(story)
