"""Small fleets that hypothesis draws: hosts with servers, groups, hints, wishes, and not too much room."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from renova.ha.picture import FleetView, GroupView, ServerView
from renova.ha.waves import Limits, StageTimes
from renova.ha.wishes import Policy, Wishes
from renova.model.group import GroupPolicy, ServerGroup
from renova.model.host import HostView
from renova.model.ids import GroupId, HostId, ProjectId, ServerId, UserId
from renova.model.place import Place
from renova.scheduling.board import Board
from renova.scheduling.request import Request
from renova.settings import SchedulerSettings

PROJECT, USER = ProjectId("project"), UserId("user")
LIMITS = Limits(at_once=3, at_once_per_host=2)
TIMES = StageTimes(detect_s=5, prove_s=2, plan_s=1, start_s=3, start_anew_s=8, up_s=10)


def host_id(nth: int) -> HostId:
    return HostId(f"id-of-h{nth}")


def server_id(nth: int) -> ServerId:
    return ServerId(f"server-{nth:02}")


def a_host(nth: int, **changes: Any) -> HostView:
    fields: dict[str, Any] = {
        "id": host_id(nth),
        "name": f"h{nth}",
        "up": True,
        "disabled": False,
        "zone": "nova",
        "storage": "",
        "architecture": "x86_64",
        "total": {"VCPU": 8.0, "MEMORY_MB": 8192.0},
        "used": {},
        "servers": 0,
    }
    return HostView(**fields | changes)


def a_server(nth: int, host: int, **changes: Any) -> ServerView:
    """Return a server on this host; fields of its request, wishes and place may be given, too."""
    amounts = {"VCPU": changes.pop("vcpus", 1), "MEMORY_MB": changes.pop("memory_mb", 1024)}
    request = Request(resources=amounts, evacuated=True, **changes.pop("request", {}))
    fields: dict[str, Any] = {
        "id": server_id(nth),
        "name": f"s{nth}",
        "project": PROJECT,
        "place": Place(server_id(nth), host_id(host), host_id(host)),
        "request": request,
        "wishes": Wishes(**changes.pop("wishes", {})),
    }
    return ServerView(**fields | changes)


def a_group(name: str, policy: str, members: Sequence[ServerView], most: int | None = None) -> GroupView:
    group = ServerGroup(
        id=GroupId(name), project=PROJECT, user=USER, name=name, policy=GroupPolicy(policy), max_server_per_host=most
    )
    return GroupView(group, tuple(member.id for member in members if member.group == name))


def a_fleet(
    hosts: Sequence[HostView],
    servers: Sequence[ServerView],
    *groups: GroupView,
    dead: Sequence[int] = (),
    cut_off: Sequence[int] = (),
) -> FleetView:
    """Return the fleet, in which hosts hold what their servers need, beside what they are said to hold."""
    held: dict[HostId, Counter[str]] = {host.id: Counter() for host in hosts}
    for server in servers:
        for home in server.place.hosts:
            held[home].update({**server.request.resources, "servers": 1})
    views = []
    for host in hosts:
        own = held[host.id]
        used = {name: host.used.get(name, 0) + own[name] for name in host.total}
        changes = {"used": used, "servers": host.servers + own["servers"]}
        fields = {name: getattr(host, name) for name in HostView.__struct_fields__} | changes
        views.append(
            HostView(**fields | ({"up": False} if host.id in {host_id(nth) for nth in (*dead, *cut_off)} else {}))
        )
    return FleetView(
        Board(views),
        tuple(servers),
        dead=frozenset(host_id(nth) for nth in dead),
        cut_off=frozenset(host_id(nth) for nth in cut_off),
        groups={each.group.id: each for each in groups},
    )


HOSTS = range(6)
_SETTINGS = SchedulerSettings(max_instances_per_host=4)


@st.composite
def fleets(draw: st.DrawFn, most_hosts: int = len(HOSTS), most_servers: int = 14) -> FleetView:
    """Draw a fleet: some of its hosts are full, down, disabled, elsewhere; some dead already."""
    numbers = range(draw(st.integers(1, most_hosts)))
    hosts = [
        a_host(
            nth,
            up=draw(st.sampled_from([True, True, True, False])),
            disabled=draw(st.sampled_from([False, False, False, True])),
            zone=draw(st.sampled_from(["nova", "nova", "attic"])),
            storage=draw(st.sampled_from(["", "shared"])),
            total={"VCPU": float(draw(st.integers(2, 16))), "MEMORY_MB": 1024.0 * draw(st.integers(2, 16))},
            traits=draw(st.sampled_from([frozenset(), frozenset({"CUSTOM_SSD"})])),
        )
        for nth in numbers
    ]
    groups = ["affine", "apart", "two-apart", "near", "far"]
    settings = draw(st.sampled_from([SchedulerSettings(), SchedulerSettings(), _SETTINGS]))
    ids = [server_id(nth) for nth in range(draw(st.integers(0, most_servers)))]
    some = st.lists(st.sampled_from(ids or [server_id(0)]), max_size=2, unique=True).map(tuple)
    servers = []
    for nth, server in enumerate(ids):
        host = host_id(draw(st.sampled_from(numbers)))
        elsewhere = host_id(draw(st.sampled_from(numbers)))
        runs_on = draw(st.sampled_from([host, host, host, host, elsewhere]))
        servers.append(
            a_server(
                nth,
                0,
                place=Place(server, host, runs_on),
                vcpus=draw(st.integers(1, 4)),
                memory_mb=1024 * draw(st.integers(1, 4)),
                runs=draw(st.booleans()),
                group=draw(st.none() | st.sampled_from(groups).map(GroupId)),
                local_disks=draw(st.sampled_from([(), ("root",)])),
                refused=draw(st.sampled_from(["", "", "", "it is paused"])),
                apart_from=draw(st.just(()) | some),
                beside=draw(st.sampled_from([None, None, None, (ids[0],)])),
                request={
                    "zone": draw(st.sampled_from([None, None, "nova"])),
                    "traits": draw(st.sampled_from([frozenset(), frozenset(), frozenset({"CUSTOM_SSD"})])),
                    "settings": settings,
                },
                wishes={
                    "policy": draw(st.sampled_from([Policy.RECOVER, Policy.RECOVER, *Policy])),
                    "priority": draw(st.sampled_from([500, 500, 1, 1000])),
                    "after": draw(st.just(()) | some),
                },
            )
        )
    dead = draw(st.lists(st.sampled_from(numbers), max_size=1))
    return a_fleet(
        hosts,
        servers,
        a_group("affine", "affinity", servers),
        a_group("apart", "anti-affinity", servers),
        a_group("two-apart", "anti-affinity", servers, most=2),
        a_group("near", "soft-affinity", servers),
        a_group("far", "soft-anti-affinity", servers),
        dead=dead,
    )


DEAD = st.sets(st.sampled_from(HOSTS).map(host_id), max_size=4)
