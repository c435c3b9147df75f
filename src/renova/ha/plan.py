"""Where the servers of dead hosts go: one plan for all of them, by the rules and weights that claims go by.

Pure; called with a picture, by whoever recovers and whoever rehearses. The plan is what comes out when the servers
claim one after another in its order: each is ranked on a board that has what the earlier ones have claimed, and where
their groups' members would be then. There is no second scheduler. What can be said is said of every server that the
hosts' death touches, once: where it goes, or why nowhere, in the words of the claim that would fail.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from renova.ha.order import Order, in_order
from renova.ha.picture import FleetView, GroupView, ServerView
from renova.ha.waves import Limits, StageTimes, Start, waves
from renova.ha.wishes import Policy
from renova.model.group import GroupPolicy
from renova.model.ids import GroupId, HostId, ServerId
from renova.model.place import Place
from renova.scheduling.board import Board
from renova.scheduling.choose import no_host, rank
from renova.scheduling.company import beside, group_places, hosts_of
from renova.scheduling.request import GroupPlaces, Request


class Outcome(StrEnum):
    """What becomes of a server."""

    PLACED = "placed"
    UNPLACEABLE = "unplaceable"  # it is to be recovered, and no host will do
    LEFT = "left"  # nothing is done
    STOPPED = "stopped"  # it is not brought up elsewhere, and does not start when its host returns


class Disks(StrEnum):
    """What becomes of the disks that only the server's host has, or who shares that one's storage."""

    NONE = "none"  # it has none: what it has are volumes
    KEPT = "kept"  # its new host shares their storage
    LOST = "lost"  # made anew: what was on them is lost


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one server, in its place in the plan."""

    server: ServerId
    name: str
    source: HostId
    outcome: Outcome
    reason: str = ""  # why it is not placed
    priority: int  # that counts: its own, or of one that waits for it
    after: tuple[ServerId, ...] = ()  # for whom it waits
    target: HostId | None = None
    disks: Disks | None = None  # of one that is placed
    local_disks: tuple[str, ...] = ()
    wave: int | None = None
    begun_s: float | None = None  # since the hosts died, as the next
    done_s: float | None = None
    notes: tuple[str, ...] = ()  # what did not go as it was wished


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of every server that the hosts' death touches: those to be recovered first, in their order."""

    dead: tuple[HostId, ...]
    steps: tuple[Step, ...]
    circles: tuple[tuple[ServerId, ...], ...]  # servers that wait for each other: none of these waits

    def of(self, outcome: Outcome) -> list[Step]:
        return [step for step in self.steps if step.outcome is outcome]


class Placed(msgspec.Struct, frozen=True):
    """Who goes where, before anybody asks when."""

    order: Order
    targets: dict[ServerId, HostId]
    refusals: dict[ServerId, str]  # of those that no host will do for
    aside: dict[ServerId, tuple[Outcome, str]]  # who is not to be recovered, and why


def plan(fleet: FleetView, dead: Set[HostId], limits: Limits, times: StageTimes) -> Plan:
    """Plan for all servers of these hosts and of those that are dead already."""
    dead = fleet.dead | dead
    placed = place(fleet, dead)
    steps = [*_placed(fleet, placed, limits, times), *_aside(fleet, placed)]
    return Plan(dead=tuple(sorted(dead)), steps=tuple(steps), circles=placed.order.circles)


def place(fleet: FleetView, dead: Set[HostId]) -> Placed:
    """Give every server of the lost hosts its place; `dead` are all hosts that are, beside those that are cut off."""
    lost, unproven = dead | fleet.cut_off, fleet.cut_off - dead
    touched = {server.id: server for host in lost for server in fleet.by_host.get(host, ())}
    aside: dict[ServerId, tuple[Outcome, str]] = {}
    to_place: list[ServerView] = []
    for _, server in sorted(touched.items()):
        if (why := not_recovered(fleet, server, lost, unproven)) is None:
            to_place.append(server)
        else:
            aside[server.id] = why
    board = fleet.board.copy()
    for host in lost:
        if (view := board.view(host)) is not None and view.up:
            board.put(replace(view, up=False))
    order = in_order(to_place, lambda server: _affine(fleet, server), _Size(board))
    claims = _Claims(fleet, board, lost)
    for server in order.servers:
        claims.claim(server)
    return Placed(order, claims.targets, claims.refusals, aside)


def not_recovered(
    fleet: FleetView, server: ServerView, lost: Set[HostId], unproven: Set[HostId] = frozenset()
) -> tuple[Outcome, str] | None:
    """Say what becomes of a server that does not go elsewhere, and why; None for one that does.

    `unproven`: those of the lost hosts that are cut off from volumes, and from nothing else.
    """
    host, home = server.place.host, server.place.home
    if home is not None and home not in lost:
        return Outcome.LEFT, f"it is on its way to {fleet.name(home)} already"
    if host is not None and host not in lost:
        return Outcome.LEFT, f"it was on its way from {fleet.name(host)}, and that has to end first"
    if server.local_disks and (there := sorted(server.place.hosts & unproven)):
        return Outcome.LEFT, (
            f"{fleet.name(there[0])} is not proven dead: it could write to the server's disks "
            f"({', '.join(server.local_disks)}), which storage does not cut off"
        )
    policy, said_by = server.wishes.policy, server.wishes.said_by
    if policy is Policy.LEAVE:
        return Outcome.LEFT, f"it waits for its host: {said_by}"
    if policy is Policy.STOP:
        return Outcome.STOPPED, f"it is to be stopped: {said_by}"
    return (Outcome.LEFT, server.refused) if server.refused else None


def _affine(fleet: FleetView, server: ServerView) -> GroupId | None:
    group = fleet.groups.get(server.group) if server.group else None
    return server.group if group is not None and group.group.policy is GroupPolicy.AFFINITY else None


class _Size:
    """How big a server is: the largest share that it takes of what all hosts that are up have of one resource."""

    def __init__(self, board: Board) -> None:
        self._total: dict[str, float] = {}
        for host in board.views:
            if host.up:
                for name, amount in host.total.items():
                    self._total[name] = self._total.get(name, 0) + amount

    def __call__(self, server: ServerView) -> float:
        shares = [amount / (self._total.get(name) or 1) for name, amount in server.request.resources.items()]
        return max(shares, default=0.0)


class _Claims:
    """The plan's claims, one after another: each sees what it would see, had those before it been granted theirs."""

    def __init__(self, fleet: FleetView, board: Board, dead: Set[HostId]) -> None:
        self._fleet = fleet
        self._board = board
        self._dead = dead
        self._moved: dict[ServerId, Place] = {}
        self.targets: dict[ServerId, HostId] = {}
        self.refusals: dict[ServerId, str] = {}

    def claim(self, server: ServerView) -> None:
        """Have the best host claimed, or note the sentence of the claim that would fail."""
        ranking = rank(self.request(server), self._board)
        best = next(ranking.best(), None)
        if best is None:
            self.refusals[server.id] = no_host(ranking.explanation())
            return
        self._board.claim(best.id, server.request.resources)
        self._moved[server.id] = Place(server.id, server.place.host, best.id)
        self.targets[server.id] = best.id

    def request(self, server: ServerView) -> Request:
        """Return all that the server needs now."""
        source = frozenset({server.place.host}) if server.place.host else frozenset[HostId]()
        group = self._fleet.groups.get(server.group) if server.group else None
        if group is None and not server.apart_from and server.beside is None:
            return replace(server.request, not_on=source)
        return replace(
            server.request,
            not_on=source,
            group=self._group_places(server, group) if group else None,
            apart_from=hosts_of(self._places(server.apart_from)),
            beside=beside(None if server.beside is None else self._places(server.beside), self._dead),
        )

    def _group_places(self, server: ServerView, group: GroupView) -> GroupPlaces:
        others = self._places([member for member in group.members if member != server.id])

        def together(company: Sequence[ServerId]) -> Mapping[str, int]:
            amounts: Counter[str] = Counter()
            for each in (server.id, *company):
                amounts.update(self._fleet.known[each].request.resources)
            return amounts

        return group_places(group.group, others, self._dead, self._fleet.name, together)

    def _places(self, servers: Sequence[ServerId]) -> list[Place]:
        found = (self._moved.get(server) or self._fleet.place(server) for server in servers)
        return [place for place in found if place is not None]


def _placed(fleet: FleetView, placed: Placed, limits: Limits, times: StageTimes) -> list[Step]:
    order, targets = placed.order, placed.targets
    disks = {server.id: _disks(fleet, server, targets[server.id]) for server in order.servers if server.id in targets}
    starts = [
        Start(
            server=server.id,
            target=targets[server.id],
            anew=disks[server.id] is Disks.LOST,
            runs=server.runs,
            after=order.after[server.id],
        )
        for server in order.servers
        if server.id in targets
    ]
    when = waves(starts, limits, times)
    steps = []
    for server in order.servers:
        target, moved = targets.get(server.id), when.get(server.id)
        steps.append(
            Step(
                server=server.id,
                name=server.name,
                source=_source(server),
                outcome=Outcome.PLACED if target else Outcome.UNPLACEABLE,
                reason=placed.refusals.get(server.id, ""),
                priority=order.priority[server.id],
                after=order.after[server.id],
                target=target,
                disks=disks.get(server.id),
                local_disks=server.local_disks,
                wave=moved.wave if moved else None,
                begun_s=moved.begun_s if moved else None,
                done_s=moved.done_s if moved else None,
                notes=tuple(_notes(server, placed)),
            )
        )
    return steps


def _source(server: ServerView) -> HostId:
    return server.place.host or server.place.home or HostId("")


def _disks(fleet: FleetView, server: ServerView, target: HostId) -> Disks:
    if not server.local_disks:
        return Disks.NONE
    old = fleet.board.view(server.place.host) if server.place.host else None
    new = fleet.board.view(target)
    return (
        Disks.KEPT if old is not None and new is not None and old.storage and old.storage == new.storage else Disks.LOST
    )


def _notes(server: ServerView, placed: Placed) -> list[str]:
    notes = [f"not understood: {word}" for word in server.wishes.unread]
    order = placed.order
    for other in server.wishes.after:
        if other in placed.refusals or other in placed.aside:
            notes.append(f"does not wait for {other}, which is not brought up")
        elif other in order.after and other not in order.after[server.id]:
            notes.append(f"does not wait for {other}: they wait for each other in a circle")
    return notes


def _aside(fleet: FleetView, placed: Placed) -> list[Step]:
    return [
        Step(
            server=server,
            name=(view := fleet.known[server]).name,
            source=_source(view),
            outcome=outcome,
            reason=reason,
            priority=view.wishes.priority,
            local_disks=view.local_disks,
            notes=tuple(f"not understood: {word}" for word in view.wishes.unread),
        )
        for server, (outcome, reason) in sorted(placed.aside.items())
    ]
