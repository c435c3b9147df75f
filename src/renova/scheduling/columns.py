"""Rules as tests of whole columns of the board: each keeps just those places at which its rule says nothing.

A rule that is not in `COLUMNS` is asked for every host that the rules before it have left; so one is told here when
thousands of hosts are to be tested by it.
"""

from collections.abc import Callable, Iterable

from renova.model.ids import HostId
from renova.scheduling import rules
from renova.scheduling.board import Board, Units
from renova.scheduling.request import Request
from renova.scheduling.rules import Rule, in_units

Column = Callable[[Request, Board, list[int]], list[int]]


def _asked_for(request: Request, board: Board, places: list[int]) -> list[int]:
    if request.only is None:
        return places
    place = board.named(request.only)
    return [] if place is None or place not in places else [place]


def _without(hosts: Iterable[HostId], board: Board, places: list[int]) -> list[int]:
    out = {board.place(host) for host in hosts}
    return [place for place in places if place not in out] if out else places


def _within(hosts: Iterable[HostId], board: Board, places: list[int]) -> list[int]:
    among = {board.place(host) for host in hosts}
    return [place for place in places if place in among]


def _not_excluded(request: Request, board: Board, places: list[int]) -> list[int]:
    return _without(request.not_on, board, places)


def _up(_request: Request, board: Board, places: list[int]) -> list[int]:
    return board.up.keep(places, lambda up: up)


def _enabled(request: Request, board: Board, places: list[int]) -> list[int]:
    return places if request.forced else board.disabled.keep(places, lambda disabled: not disabled)


def _in_zone(request: Request, board: Board, places: list[int]) -> list[int]:
    if request.zone is None or request.forced:
        return places
    return board.zone.keep(places, lambda zone: zone == request.zone)


def _runs_architecture(request: Request, board: Board, places: list[int]) -> list[int]:
    if request.architecture is None:
        return places
    return board.architecture.keep(places, lambda architecture: architecture == request.architecture)


def _runs_hypervisor_type(request: Request, board: Board, places: list[int]) -> list[int]:
    if request.hypervisor_type is None:
        return places
    return board.hypervisor_types.keep(places, lambda types: request.hypervisor_type in types)


def _has_traits(request: Request, board: Board, places: list[int]) -> list[int]:
    wanted, unwanted = request.traits, request.not_traits
    return board.traits.keep(places, lambda traits: wanted <= traits and unwanted.isdisjoint(traits))


def _apart_as_hinted(request: Request, board: Board, places: list[int]) -> list[int]:
    return _without(request.apart_from, board, places)


def _beside_as_hinted(request: Request, board: Board, places: list[int]) -> list[int]:
    return places if request.beside is None else _within(request.beside, board, places)


def _has_room(request: Request, board: Board, places: list[int]) -> list[int]:
    for name, amount in request.resources.items():
        free = board.free(name)
        if free is not None:
            places = [place for place in places if free[place] >= amount]
        elif amount > 0:
            return []
    return places


def _claimable(request: Request, board: Board, places: list[int]) -> list[int]:
    for name, amount in request.resources.items():
        if (units := board.units(name)) is not None:
            places = units.keep(places, _gives(amount))
    return places


def _gives(amount: int) -> Callable[[Units | None], bool]:
    return lambda units: units is None or in_units(amount, units)


COLUMNS: dict[Rule, Column] = {
    rules.asked_for: _asked_for,
    rules.not_excluded: _not_excluded,
    rules.up: _up,
    rules.enabled: _enabled,
    rules.in_zone: _in_zone,
    rules.runs_architecture: _runs_architecture,
    rules.runs_hypervisor_type: _runs_hypervisor_type,
    rules.has_traits: _has_traits,
    rules.apart_as_hinted: _apart_as_hinted,
    rules.beside_as_hinted: _beside_as_hinted,
    rules.has_room: _has_room,
    rules.claimable: _claimable,
}
