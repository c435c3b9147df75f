"""Bugs of how the room on hosts is taken and given back."""

from typing import Any

from msgspec.structs import replace
from sqlalchemy import bindparam, update

from renova.operations.parts import claim
from renova.store.placement import claims
from renova.store.placement.inventories import inventories
from tests.simulation.planted.bugs import Patch, bug


@bug("36", "a claim does not look at the room again", "capacity", "guest dies", room=4, servers=24, users=6)
def no_room_needed(patch: Patch) -> None:
    named = inventories.c
    those = update(inventories).where(named.provider == bindparam("host"), named.resource_class == bindparam("of"))
    taking = those.values(used=named.used + bindparam("amount"))
    patch.setattr(claims, "_TAKE", taking)
    best = getattr(claim, "rank")  # noqa: B009  (imported there)

    class Everything:
        def __init__(self, ranking: Any) -> None:
            self._ranking = ranking

        def best(self) -> Any:
            return self._ranking.best()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._ranking, name)

    patch.setattr(claim, "rank", lambda request, board: Everything(best(replace_room(request), board)))


def replace_room(request: Any) -> Any:
    """Return the request as one that needs nothing: the picture that hosts are ranked by is stale."""
    return replace(request, resources={}) if hasattr(request, "__struct_fields__") else request


@bug("b", "a delete leaves its allocation", "at_the_end", "guest dies")
def allocation_leaks(patch: Patch) -> None:
    release = claims.release

    def leaking(tx: Any, server: Any, host: Any = None) -> None:
        if host is not None:
            release(tx, server, host)

    patch.setattr(claims, "release", leaking)
