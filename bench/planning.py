"""What it takes to plan for many dead hosts at once, and to say whether any few could be lost.

Measured within this process, on a picture made for it: the CPU time of one core.
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from bench.figures import Figure
from renova.ha.picture import FleetView, GroupView, ServerView
from renova.ha.plan import Outcome
from renova.ha.rehearse import rehearse
from renova.ha.survey import picture
from renova.ha.survive import survivable
from renova.ha.waves import Limits, StageTimes
from renova.ha.wishes import Wishes
from renova.hosts.capabilities import traits
from renova.hosts.registration import inventory
from renova.model.clock import SystemClock
from renova.model.flavor import Flavor
from renova.model.group import GroupPolicy, ServerGroup
from renova.model.guest import HostFacts, PowerState
from renova.model.host import HostState, HostView
from renova.model.ids import GroupId, HostId, ImageId, ProjectId, ServerId, UserId
from renova.model.place import Place
from renova.model.server import Server, VmState
from renova.operations.parts.fleet import Fleet
from renova.scheduling.board import Board
from renova.scheduling.request import Request
from renova.settings import ControllerSettings
from renova.store import hosts, rights, servers
from renova.store.database import Tx
from renova.store.everything import open_database
from renova.store.placement import claims, host_provider

ROUNDS = 5
HOSTS, DEAD, ON_EACH = 1000, 40, 50
REHEARSAL_S = 5.0
LIMITS = Limits(at_once=2000, at_once_per_host=4)
TIMES = StageTimes(detect_s=5, prove_s=5, plan_s=2, start_s=3, start_anew_s=10, up_s=20)
ZONES = ("nova", "east", "west")

T = TypeVar("T")


async def planning() -> list[Figure]:
    """Forty of a thousand hosts die with two thousand servers; and any one, any two of the thousand might."""
    fleet = _fleet(room=2.0)
    dead = {_host(nth) for nth in range(DEAD)}
    assert len(fleet.by_host) == HOSTS, "the picture is made ready before it is planned from"
    rehearsals, tight, survivals = [], [], []
    for _ in range(ROUNDS):
        spent, rehearsal = _measured(lambda: rehearse(fleet, dead, LIMITS, TIMES))
        assert rehearsal.summary.servers == DEAD * ON_EACH
        assert rehearsal.summary.unplaceable < DEAD * ON_EACH / 100
        rehearsals.append(spent)
    full = _fleet(room=1.02)
    for _ in range(ROUNDS):
        spent, rehearsal = _measured(lambda: rehearse(full, dead, LIMITS, TIMES))
        assert len(rehearsal.plan.of(Outcome.UNPLACEABLE)) > DEAD * ON_EACH / 4
        tight.append(spent)
    for failures in (1, 2):
        spent, survival = _measured(lambda: survivable(fleet, failures, most_plans=1000))  # noqa: B023  # called at once
        assert survival.survived is not None
        survivals.append((failures, spent, survival.planned))
    reads = await _reading()
    note = f"{DEAD} of {HOSTS} hosts, {DEAD * ON_EACH} servers"
    return [
        _figure("CPU, the picture for it read", reads, None, note),
        _figure("CPU, a rehearsal", tuple(rehearsals), REHEARSAL_S, note),
        _figure("CPU, a rehearsal with too little room", tuple(tight), REHEARSAL_S, note),
        *(
            _figure(f"CPU, any {failures} of all hosts", (spent,), None, f"{HOSTS * ON_EACH} servers, {planned} plans")
            for failures, spent, planned in survivals
        ),
    ]


async def _reading() -> tuple[float, ...]:
    """Read the picture from tables in memory, on which the dead hosts have their servers and the others holders."""
    clock = SystemClock()
    database = open_database(None, clock)
    await database.transact(_have_tables)
    fleet = Fleet(clock, lambda _host: True)
    board = await database.transact(lambda tx: fleet.board(tx).copy())
    dead = {_host(nth) for nth in range(DEAD)}
    samples = []
    for _ in range(ROUNDS):
        began = time.process_time()
        found = await database.read(lambda tx: picture(tx, board, ControllerSettings(), dead))
        samples.append(time.process_time() - began)
        assert len(found.servers) == DEAD * ON_EACH
    database.close()
    return tuple(samples)


def _have_tables(tx: Tx) -> None:
    facts = HostFacts("QEMU", 7002000, "simulated", "x86_64", vcpus=256, memory_mb=524288, local_gb=8000)
    flavor = Flavor(id="1", name="bench", vcpus=2, memory_mb=4096, root_gb=20)
    for nth in range(HOSTS):
        host = _host(nth)
        hosts.add(tx, host, f"host{nth}", "10.0.0.1", "certificate")
        hosts.begin_lease(tx, host, 1, "boot", ttl=20.0, margin=12.0)
        host_provider.provide(tx, host, f"host{nth}", inventory(host, facts), traits(facts, disabled=False))
        hosts.change(tx, host, state=HostState.UP, facts=facts)
        for number in range(ON_EACH if nth < DEAD else 0):
            server = ServerId(f"{nth:08x}-0000-4000-9000-{number:012x}")
            servers.add(tx, _server(server, host, flavor, tx.now))
            claims.claim(tx, server, ProjectId("bench"), UserId("bench"), host, flavor.resources())
            rights.grant(tx, server, host)


def _server(server: ServerId, host: HostId, flavor: Flavor, now: str) -> Server:
    return Server(
        id=server,
        serial=0,
        project=ProjectId("bench"),
        user=UserId("bench"),
        name="bench",
        hostname="bench",
        vm_state=VmState.ACTIVE,
        task_state=None,
        power_state=PowerState.RUNNING,
        flavor=flavor,
        image=ImageId("image"),
        host=host,
        metadata={"renova:priority": "700"},
        created_at=now,
        updated_at=now,
        launched_at=now,
    )


def _figure(what: str, samples: tuple[float, ...], most: float | None, note: str) -> Figure:
    return Figure(measure="planning", what=what, unit="s", samples=samples, most=most, note=note)


def _measured(work: Callable[[], T]) -> tuple[float, T]:
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def _host(nth: int) -> HostId:
    return HostId(f"{nth:08x}-0000-4000-8000-000000000000")


def _fleet(room: float) -> FleetView:
    """Make hosts that have `room` times what their servers hold: these differ in size, zone, priority and group."""
    chance = random.Random(1)  # noqa: S311
    members: dict[GroupId, list[ServerId]] = {}
    servers, views = [], []
    for nth in range(HOSTS):
        used = {"VCPU": 0, "MEMORY_MB": 0, "DISK_GB": 0}
        zone = ZONES[nth % len(ZONES)]
        for number in range(ON_EACH):
            server = ServerId(f"{nth:08x}-0000-4000-9000-{number:012x}")
            size = chance.choice([1, 1, 2, 4])
            amounts = {"VCPU": size, "MEMORY_MB": 2048 * size, "DISK_GB": 20}
            used = {name: amount + amounts[name] for name, amount in used.items()}
            group = GroupId(f"group-{chance.randrange(HOSTS * 4)}") if number % 5 == 0 else None
            if group is not None:
                members.setdefault(group, []).append(server)
            servers.append(
                ServerView(
                    id=server,
                    name=f"server-{nth}-{number}",
                    project=ProjectId("bench"),
                    place=Place(server, _host(nth), _host(nth)),
                    request=Request(resources=amounts, zone=zone if number % 2 else None, evacuated=True),
                    wishes=Wishes(
                        priority=chance.choice([500, 500, 900]), after=(ServerId(server[:-12] + f"{0:012x}"),)
                    ),
                    local_disks=("root",) if number % 3 else (),
                    group=group,
                )
            )
        views.append(
            HostView(
                id=_host(nth),
                name=f"host{nth}",
                up=True,
                disabled=False,
                zone=zone,
                storage="shared" if nth % 2 else "",
                architecture="x86_64",
                total={name: room * amount for name, amount in used.items()},
                used=used,
                servers=ON_EACH,
            )
        )
    return FleetView(Board(views), tuple(servers), groups={group: _group(group, members[group]) for group in members})


def _group(group: GroupId, members: list[ServerId]) -> GroupView:
    of_it = ServerGroup(
        id=group, project=ProjectId("bench"), user=UserId("bench"), name=group, policy=GroupPolicy.ANTI_AFFINITY
    )
    return GroupView(of_it, tuple(members))
