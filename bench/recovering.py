"""What it takes to bring back two thousand servers when forty of a thousand hosts die at once.

A controller, its database in memory, and a thousand agents run in one thread, in virtual time: what is measured is the
CPU time of that thread, all of them together, from the first proof of a death until the last server was commanded to
start on another host. So it is more than the controller alone would need. What is waited for meanwhile passes in
virtual time; the sum of both is what it takes at most where nothing is done at the same time.
"""

import asyncio
import time
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from bench.figures import Figure
from renova import log as logs
from renova.drivers.hypervisor.simulated.machine import SMALL_HOST
from renova.ha.plan import Outcome
from renova.ha.rehearse import rehearse
from renova.ha.survey import expected_times, limits, take_picture
from renova.ha.wishes import PRIORITY
from renova.main.garbage import look_seldom
from renova.model.clock import stamp
from renova.model.flavor import Flavor
from renova.model.group import GroupPolicy, ServerGroup
from renova.model.guest import PowerState
from renova.model.host import HostState
from renova.model.ids import GroupId, HostId, ImageId, ProjectId, ServerId, UserId
from renova.model.recovery import OPEN
from renova.model.server import Server, VmState
from renova.settings import ControllerSettings, LeaseTimes
from renova.simulation.cloud import SimulatedCloud
from renova.simulation.loop import run_virtual
from renova.simulation.surroundings import an_image
from renova.store import hosts, recoveries, rights, server_groups, servers
from renova.store.database import Tx
from renova.store.placement import claims

GROUPED = 4  # of the servers of each dead host, one in each of so many groups that are kept apart
GROUP_HOSTS = 8  # that have a server of the same group
MOST_S, REHEARSAL_S = 15.0, 5.0
SETTINGS = ControllerSettings(
    lease=LeaseTimes(renew=5.0, ttl=28.0, margin=12.0, failover=12.0),
)
FACTS = replace(SMALL_HOST, vcpus=64, memory_mb=262_144, local_gb=4000)
FLAVORS = [
    Flavor(id=str(size), name=f"bench-{size}", vcpus=size, memory_mb=2048 * size, root_gb=10) for size in (1, 2, 4)
]
IMAGE = an_image("bench", b"bench" * 100)
PROJECT, USER = ProjectId("bench"), UserId("bench")


class Size(NamedTuple):
    """How many hosts there are, how many of them die, and how many servers each of these has."""

    hosts: int
    dead: int
    on_each: int

    @property
    def servers(self) -> int:
        return self.dead * self.on_each


class Round(NamedTuple):
    """What one round came to."""

    rehearsal_cpu_s: float
    cpu_s: float
    waited_s: float
    as_said: float  # the share of servers that are where the rehearsal has put them


async def recovering() -> list[Figure]:
    """Forty of a thousand hosts lose their power at once."""
    logs.set_up("error", process="bench")
    size = Size(hosts=1000, dead=40, on_each=50)
    found = await asyncio.to_thread(lambda: run_virtual(one_round(size)))
    note = f"{size.dead} of {size.hosts} hosts, {size.servers} servers"
    figure = partial(Figure, measure="recovering", note=note)
    together = found.cpu_s + found.waited_s
    return [
        figure(what="CPU, a rehearsal with its picture", unit="s", samples=(found.rehearsal_cpu_s,), most=REHEARSAL_S),
        figure(what="CPU, from the proof until all are commanded", unit="s", samples=(found.cpu_s,)),
        figure(what="waits meanwhile", unit="s", samples=(found.waited_s,)),
        figure(what="both, one after the other", unit="s", samples=(together,), most=MOST_S),
        figure(what="on the host that the rehearsal named", unit="%", samples=(100 * found.as_said,), least=99.0),
    ]


async def one_round(size: Size) -> Round:
    """Have the hosts die, and everything that can be recovered be recovered."""
    cloud = SimulatedCloud(
        count=size.hosts, shared=False, storage_count=0, facts=FACTS, settings=SETTINGS, start_s=0.5, boot_s=0.5
    )
    cloud.images.have(IMAGE, b"bench" * 100)
    await cloud.up()
    assert cloud.controller is not None
    cloud.controller.recoverer.inline = size.servers  # a virtual loop has no threads
    dying, living = list(cloud.hosts)[: size.dead], list(cloud.hosts)[size.dead :]
    await cloud.database.transact(partial(_have_groups, rows=-(-size.dead // GROUP_HOSTS)))
    for nth, name in enumerate(dying):
        wanted = [_server(cloud, name, nth, each, grouped=each < GROUPED) for each in range(size.on_each)]
        await cloud.database.transact(partial(_have, wanted=wanted))
    # Some room is taken on the others, here more and there less: no two of them are equally good for long.
    others = [_server(cloud, name, size.dead + nth // 8, nth % 8) for nth, name in enumerate(living) if nth % 8]
    await cloud.database.transact(partial(_have, wanted=others))
    look_seldom()  # as in a controller
    ids = frozenset(cloud.hosts[name].id for name in dying)
    began_cpu = time.thread_time()
    fleet = await take_picture(cloud.cloud, ids)
    planned = rehearse(fleet, ids, limits(SETTINGS.recovery), expected_times(SETTINGS.recovery)).plan
    rehearsal_cpu_s = time.thread_time() - began_cpu
    said = {step.server: step.target for step in planned.of(Outcome.PLACED)}
    for name in dying:
        await cloud.cut_power(name)
    while not await cloud.database.read(_any_dead):
        await cloud.clock.sleep(0.1)
    began, began_cpu = cloud.clock.monotonic(), time.thread_time()
    while left := len(said.keys() - _started(cloud)):
        await cloud.clock.sleep(0.25)
        assert cloud.clock.monotonic() - began < 10 * MOST_S, f"{left} are not commanded"
    cpu_s, waited_s = time.thread_time() - began_cpu, cloud.clock.monotonic() - began
    while await cloud.database.read(_unfinished):
        await cloud.clock.sleep(1.0)
    where = await cloud.database.read(rights.every)
    as_said = sum(where.get(server) == host for server, host in said.items()) / size.servers
    await cloud.down()
    return Round(rehearsal_cpu_s, cpu_s, waited_s, as_said)


def _server(cloud: SimulatedCloud, host: str, row: int, nth: int, *, grouped: bool = False) -> Server:
    """Return the server of this number on the host, which is in this row: of some size, some of them in a group."""
    now = stamp(cloud.clock.wall())
    return Server(
        id=ServerId(f"{row:08x}-0000-4000-8000-{nth:012x}"),
        serial=0,
        project=PROJECT,
        user=USER,
        name=f"bench-{row}-{nth}",
        hostname="bench",
        vm_state=VmState.ACTIVE,
        task_state=None,
        power_state=PowerState.RUNNING,
        flavor=FLAVORS[nth % len(FLAVORS)],
        image=ImageId(IMAGE.id),
        image_format="raw",
        image_bytes=IMAGE.size or 0,
        image_sha256=IMAGE.sha256 or "",
        host=cloud.hosts[host].id,
        host_name=host,
        group=_group(row // GROUP_HOSTS, nth) if grouped else None,
        metadata={PRIORITY: "900"} if nth % 10 == 0 else {},
        created_at=now,
        updated_at=now,
        launched_at=now,
    )


def _group(row: int, nth: int) -> GroupId:
    return GroupId(f"{row:08x}-0000-4000-9000-{nth:012x}")


def _have_groups(tx: Tx, rows: int) -> None:
    for row in range(rows):
        for nth in range(GROUPED):
            group = _group(row, nth)
            policy = GroupPolicy.ANTI_AFFINITY
            server_groups.add(tx, ServerGroup(id=group, project=PROJECT, user=USER, name=group, policy=policy))


def _have(tx: Tx, wanted: Iterable[Server]) -> None:
    for server in wanted:
        assert server.host is not None
        servers.add(tx, server)
        claims.claim(tx, server.id, PROJECT, USER, server.host, server.flavor.resources())
        rights.grant(tx, server.id, HostId(server.host))


def _any_dead(tx: Tx) -> bool:
    return any(host.state is HostState.DEAD for host in hosts.computing(tx))


def _started(cloud: SimulatedCloud) -> set[ServerId]:
    """Return the servers whose guests were begun on hosts that live."""
    return {server for host in cloud.hosts.values() if host.powered for server in host.hypervisor.domains()}


def _unfinished(tx: Tx) -> bool:
    return any(each.state in OPEN for each in recoveries.unsettled(tx))
