"""Whether what is spare is plainly enough: for whole families of failures at once, without planning each.

A server finds no place only if every host that could have it is full by its turn. To fill a host, the others that move
have to bring more than what is free there beyond the server's own need; and there is only so much of them. Where the
hosts together could take more than all that moves, whichever resource fills each, some host is left: that is proven
for any order and any choice. The bound errs to one side: what it does not prove is planned.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from heapq import heappushpop
from math import inf

import msgspec
from msgspec.structs import replace

from renova.ha.picture import FleetView, ServerView
from renova.ha.plan import not_recovered
from renova.model.group import GroupPolicy
from renova.model.ids import GroupId, HostId, ServerId
from renova.scheduling import rules
from renova.scheduling.capabilities import CHANGING
from renova.scheduling.choose import rank
from renova.scheduling.request import Request
from renova.scheduling.rules import rules_for

_SERVERS = ""  # as a resource: how many servers a host may have; no resource class has this name
_SLACK = 1 + 1e-9  # for what floats round
CLAIMED = frozenset({rules.has_room, rules.few_enough, rules.not_excluded})  # what depends on who else has claimed

Load = Mapping[str, float]


class _Kind(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Servers that need the same."""

    needs: Load
    spare: tuple[tuple[HostId, Load], ...]  # of each host that could ever have one: what is free beyond one's need
    full: frozenset[HostId] = frozenset()  # hosts that have as many of its group as they may (anti-affinity)
    mates: int = 0  # others of its group, each of which may take one host more from it


class Spare:
    """What hosts can take, and what has to move when they die."""

    def __init__(self, fleet: FleetView, failures: int, unplaced: Set[ServerId]) -> None:
        """`failures` is how many hosts fail at once, at most; `unplaced` are servers of which nothing is to be proven.

        Those are on hosts that are dead already, and find no place as things are.
        """
        self._fleet = fleet
        self._unplaced = unplaced
        self._failures = failures
        self._kinds: dict[tuple[bytes, GroupId | None], _Kind] = {}
        self._spares: dict[bytes, tuple[tuple[HostId, Load], ...]] = {}
        self._load: dict[HostId, Load] = {}
        self._of: dict[HostId, list[_Kind]] = {}
        self._odd: set[HostId] = set()  # that have a server of which nothing is proven here
        for host, servers in fleet.by_host.items():
            self._have(host, servers)
        alive = [view.id for view in fleet.board.views if view.id not in fleet.lost]
        size = self._sizes(alive)
        # Those that are hard to prove things of come first, and the heaviest: without them the rest is soon proven.
        self.hosts = sorted(alive, key=lambda host: (host not in self._odd, -size[host], host))
        self._always: Load = _sum(self._load[host] for host in fleet.lost if host in self._load)
        self._always_of = [kind for host in sorted(fleet.lost) for kind in self._of.get(host, ())]
        self._always_odd = not self._odd.isdisjoint(fleet.lost)
        self._odd_hosts = sum(host in self._odd for host in self.hosts)
        self._heaviest = self._from_each_on()
        # By the last place in `hosts` that has one of the kind.
        self._last = {kind: nth for nth, host in enumerate(self.hosts) for kind in self._of.get(host, ())}
        self._by_last = sorted(self._last.items(), key=lambda each: -each[1])
        self._doubted: _Kind | None = None  # most likely doubted again

    def _have(self, host: HostId, servers: Sequence[ServerView]) -> None:
        load: Load = {}
        kinds: dict[_Kind, None] = {}  # in their order, each once
        for server in servers:
            if not_recovered(self._fleet, server, frozenset(server.place.hosts)) is not None:
                continue
            load = _sum((load, server.request.resources, {_SERVERS: 1}))
            if server.id in self._unplaced:
                continue
            if self._is_odd(server):
                self._odd.add(host)
            else:
                kinds[self._kind(server)] = None
        self._load[host] = load
        self._of[host] = list(kinds)

    def _is_odd(self, server: ServerView) -> bool:
        group = self._fleet.groups.get(server.group) if server.group else None
        return (
            (group is not None and group.group.policy is GroupPolicy.AFFINITY)
            or bool(server.apart_from)
            or server.beside is not None
            or not CHANGING.isdisjoint(path.partition(":")[0] for path in server.request.capabilities)
        )

    def _kind(self, server: ServerView) -> _Kind:
        request = _stripped(server.request)
        same = msgspec.json.encode(request, order="deterministic")
        group = self._fleet.groups.get(server.group) if server.group else None
        if group is not None and group.group.policy is not GroupPolicy.ANTI_AFFINITY:
            group = None  # wishes, which refuse no host
        key = same, group.group.id if group else None
        if (known := self._kinds.get(key)) is not None:
            return known
        if same not in self._spares:
            self._spares[same] = tuple(self._spare(server.request))
        spare = self._spares[same]
        full, mates = frozenset[HostId](), 0
        if group is not None:
            places = [place for each in group.members if (place := self._fleet.place(each)) is not None]
            on = [host for place in places for host in place.hosts]
            full = frozenset(host for host in on if on.count(host) >= group.group.most_on_a_host)
            mates = len(group.members) - 1
        needs = {**server.request.resources, **({_SERVERS: 1} if any(_SERVERS in each for _, each in spare) else {})}
        found = self._kinds[key] = _Kind(needs=needs, spare=spare, full=full, mates=mates)
        return found

    def _spare(self, request: Request) -> Iterator[tuple[HostId, Load]]:
        lasting = [rule for rule in rules_for(request) if rule not in CLAIMED]
        for host in rank(request, self._fleet.board, lasting).hosts:
            if host.id in self._fleet.lost:
                continue
            spare = {
                name: host.total.get(name, 0) - host.used.get(name, 0) - amount
                for name, amount in request.resources.items()
            }
            if (most := rules.most_servers(request, host)) is not None:
                spare[_SERVERS] = most - host.servers - 1
            if min(spare.values(), default=0) >= 0:
                yield host.id, spare

    def _sizes(self, hosts: Sequence[HostId]) -> dict[HostId, float]:
        whole = _sum(self._load.get(host, {}) for host in hosts)
        return {
            host: max(
                (amount / whole[name] for name, amount in self._load.get(host, {}).items() if amount), default=0.0
            )
            for host in hosts
        }

    def _from_each_on(self) -> list[dict[str, list[float]]]:
        """Return for each place in `hosts` the greatest loads of one host from there on, of each resource."""
        found: list[dict[str, list[float]]] = [{}]
        for host in reversed(self.hosts):
            greatest = dict(found[-1])
            for name, amount in self._load.get(host, {}).items():
                known = greatest.get(name, [])
                if len(known) < self._failures or amount > known[-1]:
                    greatest[name] = sorted([*known, amount], reverse=True)[: self._failures]
            found.append(greatest)
        return found[::-1]

    def enough(self, failed: Sequence[HostId], start: int, more: int) -> bool:
        """Say whether it is proven that every server finds a place when these hosts fail, and any `more` others.

        The others are any of `hosts` from place `start` on.
        """
        if self._always_odd or (more and start < self._odd_hosts) or not self._odd.isdisjoint(failed):
            return False
        moving = _sum((self._always, *(self._load.get(host, {}) for host in failed)))
        if more:
            moving = _sum((moving, {name: sum(most[:more]) for name, most in self._heaviest[start].items()}))
        gone = frozenset(failed)
        doubted = self._doubted
        about = more and doubted is not None and self._last.get(doubted, -1) >= start
        if about and doubted is not None and not self._finds_place(doubted, moving, gone, more):
            return False
        for kind in self._to_prove(failed, start, more):
            if not self._finds_place(kind, moving, gone, more):
                self._doubted = kind
                return False
        return True

    def _to_prove(self, failed: Sequence[HostId], start: int, more: int) -> Iterator[_Kind]:
        yield from self._always_of
        for host in failed:
            yield from self._of.get(host, ())
        if more:
            for kind, last in self._by_last:
                if last < start:
                    break
                yield kind

    @staticmethod
    def _finds_place(kind: _Kind, moving: Load, gone: frozenset[HostId], more: int) -> bool:
        """Say whether the others that move cannot fill every host that could have a server of this kind."""
        others = {name: moving[name] - need for name, need in kind.needs.items() if moving.get(name, 0) > need}
        # Hosts that fail, or that mates of its group may take from it: at worst the roomiest.
        taken = [0.0] * (more + kind.mates)
        left, wanted = 0.0, len(others) * _SLACK
        for host, spare in kind.spare:
            if host in gone or host in kind.full:
                continue
            share = min((spare[name] / amount for name, amount in others.items() if name in spare), default=inf)
            left += heappushpop(taken, share) if taken else share
            if left >= wanted and left > 0:
                return True
        return False


def _stripped(request: Request) -> Request:
    """Leave out what no rule asks of it here: whose server it is, and of what image, nearly always."""
    asked = set(rules_for(request))
    return replace(
        request,
        not_on=frozenset(),
        project=request.project if rules.for_project in asked else None,
        image=request.image if rules.isolated_as_image in asked else None,
        image_properties=request.image_properties if rules.for_image in asked else {},
        marks=frozenset(),
    )


def _sum(loads: Iterable[Load]) -> Load:
    whole: dict[str, float] = {}
    for load in loads:
        for name, amount in load.items():
            whole[name] = whole.get(name, 0) + amount
    return whole
