"""Bugs of how a server comes to another host: its right, and what is left behind."""

import asyncio
from contextlib import suppress
from typing import Any

from renova.model.errors import NotNow
from renova.model.guest import PowerState
from renova.operations import create, evacuate, migrate
from renova.operations.parts import moving, run_guest
from renova.store import hosts as host_rows
from renova.store import rights
from renova.wire.acts import Remove
from tests.simulation.planted.bugs import Patch, bug
from tests.simulation.planted.shapes import EVACUATING, POWER


@bug("18", "a grant does not look at the proof again", "right one_run", POWER, seeds=80, **EVACUATING)
def trusting_grant(patch: Patch) -> None:
    proof = host_rows.proof

    def grant(tx: Any, server: Any, target: Any, migration: int | None = None) -> Any:
        row = rights.right(tx, server)
        if row is not None and row.host != target and proof(tx, row.host) is None:
            rights.owe(tx, row.host, server, row.incarnation + 1, migration)
            rights.release(tx, server)
        return rights.grant.__wrapped__(tx, server, target, migration)  # type: ignore[attr-defined]

    grant.__wrapped__ = rights.grant  # type: ignore[attr-defined]
    patch.setattr(rights, "grant", grant)
    patch.setattr(evacuate, "_dead_source", lambda _cloud, tx, server: host_rows.get(tx, server.host))


@bug(
    "23",
    "another host is tried after a time-out",
    "one_run right monotone",
    f"{POWER}, disk of a host fails",
    seeds=160,
    **EVACUATING,
)
def after_a_timeout(patch: Patch) -> None:
    async def clear(work: Any, host: Any, incarnation: int, *, disks: bool) -> None:
        with suppress(NotNow):
            await work.command(host, incarnation, Remove(disks=disks))
        await work.note(lambda tx: run_guest.freed(work, tx, host))

    async def build(*arguments: Any, **options: Any) -> Any:
        try:
            async with asyncio.timeout(3.0):
                return await run_guest.build(*arguments, **options)
        except (NotNow, TimeoutError):
            return run_guest.Built(PowerState.NOSTATE, refused="it took too long")

    for module in (evacuate, create):
        for name, value in (("clear", clear), ("build", build)):
            if hasattr(module, name):
                patch.setattr(module, name, value)


@bug(
    "24",
    "an undo gives the right back as it was",
    "monotone",
    f"{POWER}, disk of a host fails",
    seeds=160,
    **EVACUATING,
)
def right_back(patch: Patch) -> None:
    def back(work: Any, tx: Any, want: Any, failed: Any, reason: str) -> None:
        right = rights.right(tx, work.held.server)
        if right is not None and right.host != want.source:
            rights.put(tx, work.held.server, want.source, right.incarnation - 1, right.host_epoch)

    patch.setattr(evacuate.claim_destination, "undo_body", back)


@bug(
    "27",
    "a shared directory is taken for a local one",
    "kept at_the_end",
    f"{POWER}, disk of a host fails",
    seeds=80,
    **EVACUATING,
)
def taken_for_local(patch: Patch) -> None:
    patch.setattr(evacuate, "_shared", lambda _want, _taken: False)


@bug("k", "a move does not wait until its source has confirmed", "right one_run", "guest dies", maintained=True)
def unconfirmed(patch: Patch) -> None:
    async def power_off(_work: Any, _want: Any, _leaving: Any) -> None:
        pass

    async def leave_source(work: Any, _want: Any, leaving: Any) -> None:
        await work.note(lambda tx: moving.release_former(tx, work.held.server, leaving.right))

    patch.setattr(migrate.power_off, "body", power_off)
    patch.setattr(migrate.leave_source, "body", leave_source)
