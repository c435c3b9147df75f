"""Bugs of how a host, or the database, comes back."""

from typing import Any

from renova.agent.acts import Acts
from renova.hosts import connections, eras, registration
from renova.model.host import HostState
from renova.store import hosts as host_rows
from tests.simulation.planted.bugs import Patch, bug
from tests.simulation.planted.shapes import EVACUATING, POWER


@bug("25", "a host is up before it has cleaned up", "clean one_run right", POWER, **EVACUATING)
def up_at_once(patch: Patch) -> None:
    welcome = registration.welcome

    def hasty(tx: Any, host: Any, hello: Any, times: Any, *more: Any, **options: Any) -> Any:
        place = welcome(tx, host, hello, times, *more, **options)
        if place.state is HostState.RETURNING and place.duties:
            host_rows.change(tx, host, state=HostState.UP)
            place = type(place)(**{**{name: getattr(place, name) for name in place.__slots__}, "state": HostState.UP})
        return place

    patch.setattr(connections, "welcome", hasty)


@bug("26", "a clean-up goes by the server's id only", "kept right at_the_end", POWER, seeds=80, **EVACUATING)
def by_id_only(patch: Patch) -> None:
    async def clean(self: Acts, duty: Any, known: Any, newer: bool) -> None:
        await self._remove(duty.server, known)
        await self._hypervisor.drop_disks(duty.server, None)

    patch.setattr(Acts, "clean", clean)


@bug("32", "a new boot keeps the epoch", "monotone right one_run", "loses power")
def epoch_kept(patch: Patch) -> None:
    begin = host_rows.begin_lease

    def kept(tx: Any, host: Any, *, epoch: int, boot: str, **values: Any) -> None:
        known = host_rows.lease(tx, host)
        begin(tx, host, epoch=known.epoch if known else epoch, boot=boot, **values)

    patch.setattr(host_rows, "begin_lease", kept)


@bug(
    "34",
    "lost commits are not noticed",
    "monotone",
    "loses its last commits, message lost, guest dies",
)
def loss_unnoticed(patch: Patch) -> None:
    patch.setattr(eras, "loss", lambda _tx, _host, _hello: None)
    patch.setattr(eras, "hold", lambda _tx, _reason, _seen=0: None)
