"""In which order servers get their place: by priority, then after those they depend on, then the big ones first.

A server that others wait for is as urgent as the most urgent of these, and so is whoever has to be on one host with it
(affinity): so whoever is urgent never waits for one that is not. Such a group is placed in one go, lest others take the
room that its first member has found for all. Servers that wait for each other in a circle are told, and none of them
waits for another of the circle.
"""

from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heappush

import msgspec

from renova.ha.picture import ServerView
from renova.model.ids import GroupId, ServerId


class Order(msgspec.Struct, frozen=True):
    """The servers in their order."""

    servers: tuple[ServerView, ...]
    priority: dict[ServerId, int]  # that counts: its own, or of one that waits for it
    after: dict[ServerId, tuple[ServerId, ...]]  # for whom each waits, circles left out
    circles: tuple[tuple[ServerId, ...], ...]


def in_order(
    servers: Sequence[ServerView], together: Callable[[ServerView], GroupId | None], size: Callable[[ServerView], float]
) -> Order:
    """Order the servers; `together` names the group with which each has to be on one host, if any."""
    known = {server.id: server for server in servers}
    wanted = {server.id: [each for each in server.wishes.after if each in known] for server in servers}
    unit_of, units = _units(servers, together)
    priority = _priorities(servers, wanted, unit_of, units)
    circles = _circles(wanted)
    circle_of = {server: nth for nth, circle in enumerate(circles) for server in circle}
    after = {
        server: tuple(each for each in others if each not in circle_of or circle_of[each] != circle_of.get(server))
        for server, others in wanted.items()
    }
    sizes = {server.id: size(server) for server in servers}

    def unit_key(unit: ServerId) -> tuple[int, bool, float, ServerId]:
        # What is to run comes before what stays stopped, which must not take the last room from it.
        members = units[unit]
        runs = any(known[each].runs for each in members)
        return -priority[unit], not runs, -sum(sizes[each] for each in members), unit

    def key(server: ServerId) -> tuple[bool, float, ServerId]:
        return not known[server].runs, -sizes[server], server

    ordered = _ordered(after, unit_of, {unit: unit_key(unit) for unit in units}, key)
    return Order(tuple(known[each] for each in ordered), priority, after, circles)


def _units(
    servers: Sequence[ServerView], together: Callable[[ServerView], GroupId | None]
) -> tuple[dict[ServerId, ServerId], dict[ServerId, list[ServerId]]]:
    """Return what is placed in one go: of each server the first of its unit, and of that all its members."""
    firsts: dict[GroupId, ServerId] = {}
    unit_of: dict[ServerId, ServerId] = {}
    units: dict[ServerId, list[ServerId]] = {}
    for server in servers:
        group = together(server)
        first = unit_of[server.id] = server.id if group is None else firsts.setdefault(group, server.id)
        units.setdefault(first, []).append(server.id)
    return unit_of, units


def _priorities(
    servers: Sequence[ServerView],
    wanted: Mapping[ServerId, Sequence[ServerId]],
    unit_of: Mapping[ServerId, ServerId],
    units: Mapping[ServerId, Sequence[ServerId]],
) -> dict[ServerId, int]:
    found: dict[ServerId, int] = {}
    for server in sorted(servers, key=lambda each: -each.wishes.priority):
        # The first who reaches a server is the most urgent of all that do.
        reached = [server.id]
        while reached:
            each = reached.pop()
            if each not in found:
                found[each] = server.wishes.priority
                reached += wanted[each]
                # The unit's first stands for it: who has reached that has reached all its members.
                reached += units[each] if unit_of[each] == each else (unit_of[each],)
    return found


def _ordered(
    after: Mapping[ServerId, Sequence[ServerId]],
    unit_of: Mapping[ServerId, ServerId],
    unit_keys: Mapping[ServerId, tuple[int, bool, float, ServerId]],
    key: Callable[[ServerId], tuple[bool, float, ServerId]],
) -> list[ServerId]:
    """Take the best unit that has anybody ready, and all of it that is, again and again."""
    open_ = {server: len(others) for server, others in after.items()}
    waiting: dict[ServerId, list[ServerId]] = {}
    for server, others in after.items():
        for other in others:
            waiting.setdefault(other, []).append(server)
    ready: dict[ServerId, list[tuple[tuple[bool, float, ServerId], ServerId]]] = {}
    for server, count in open_.items():
        if not count:
            ready.setdefault(unit_of[server], []).append((key(server), server))
    for members in ready.values():
        heapify(members)
    best = [unit_keys[unit] for unit in ready]
    heapify(best)
    ordered: list[ServerId] = []
    while best:
        unit = heappop(best)[-1]
        members = ready[unit]
        while members:
            _, server = heappop(members)
            ordered.append(server)
            for other in waiting.get(server, ()):
                open_[other] -= 1
                if not open_[other]:
                    theirs = ready.setdefault(unit_of[other], [])
                    if not theirs and unit_of[other] != unit:
                        heappush(best, unit_keys[unit_of[other]])
                    heappush(theirs, (key(other), other))
    return ordered


def _circles(wanted: Mapping[ServerId, Sequence[ServerId]]) -> tuple[tuple[ServerId, ...], ...]:
    """Return the sets of servers that all wait for each other, by Tarjan's algorithm, without recursion."""
    number: dict[ServerId, int] = {}
    low: dict[ServerId, int] = {}
    stack: list[ServerId] = []
    on_stack: set[ServerId] = set()
    found: list[tuple[ServerId, ...]] = []
    for root in wanted:
        path = [(root, iter(wanted[root]))] if root not in number else []
        while path:
            server, others = path[-1]
            if server not in number:
                number[server] = low[server] = len(number)
                stack.append(server)
                on_stack.add(server)
            for other in others:
                if other not in number:
                    path.append((other, iter(wanted[other])))
                    break
                if other in on_stack:
                    low[server] = min(low[server], number[other])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[server])
                if low[server] == number[server]:
                    circle: list[ServerId] = []
                    while server not in circle[-1:]:
                        circle.append(stack.pop())
                    on_stack.difference_update(circle)
                    if len(circle) > 1 or server in wanted[server]:
                        found.append(tuple(sorted(circle)))
    return tuple(sorted(found))
