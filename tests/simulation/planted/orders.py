"""Bugs of how a host obeys: which orders it refuses, and what it notes and ends before it acts."""

from typing import Any

from msgspec.structs import replace

from renova.agent import guest, orders
from renova.agent.guest import GuestActor
from tests.simulation.planted.bugs import Patch, bug


@bug(
    "19",
    "the incarnation of an order is ignored",
    "monotone stale_step right",
    "command late, message doubled, loses power",
    seeds=80,
)
def any_incarnation(patch: Patch) -> None:
    check = orders.check

    def blind(order: Any, act: Any, session: str, host: Any, server: Any) -> None:
        check(order, act, order.session, host, replace(server, incarnation=0, burnt=0, number=0, epoch=0))

    patch.setattr(orders, "check", blind)


@bug(
    "20",
    "the epochs of an order are ignored",
    "monotone stale_step right released",
    "command late, loses power, message doubled",
    seeds=80,
)
def any_epoch(patch: Patch) -> None:
    patch.setattr(orders, "_check_place", lambda _order, _session, _host: None)
    check = orders.check

    def blind(order: Any, act: Any, session: str, host: Any, server: Any) -> None:
        check(order, act, session, host, replace(server, number=0, epoch=0, incarnation=0, burnt=0))

    patch.setattr(orders, "check", blind)


@bug("21", "the journal is written after acting", "stale_step", "agent killed")
def journal_late(patch: Patch) -> None:
    patch.setattr(guest, "noted", lambda _order, _act, page: page)


@bug("22", "a superseded step is not awaited", "one_step", "disk of a host slow, agent frozen", users=4)
def not_awaited(patch: Patch) -> None:
    async def end(self: GuestActor, reason: Any, patience_s: float | None) -> None:
        if self._running is not None:
            self._running.ended_because = reason
        self._running = None

    patch.setattr(GuestActor, "_end", end)
