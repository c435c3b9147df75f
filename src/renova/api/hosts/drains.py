"""Hosts that are being emptied for maintenance: begun, looked at and taken back."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from renova.api.hosts.found import host_in_path, unknown_host
from renova.api.http import Call, Reply
from renova.ha.draining import begin_drain, leavers, moved, undo_drain
from renova.ha.leaving import Leaver, Stage, progress
from renova.model.errors import NotFound
from renova.model.host import Host
from renova.store import drains, hosts
from renova.store.database import Tx


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """Why the host is to be emptied: seen as the reason for which its compute service is disabled."""

    reason: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


async def begin(call: Call) -> Reply:
    """Have the host be emptied; the answer says how far it is."""
    call.demand("renova:hosts:drain")
    wanted = call.json(Wanted) if call.body else Wanted()
    host = await host_in_path(call)

    def work(tx: Tx) -> None:
        row = hosts.get(tx, host.id)
        if row is None:
            raise unknown_host(host.name)
        begin_drain(call.cloud, tx, row, call.caller.user_name, wanted.reason)

    await call.cloud.database.transact(work)
    return await show(call)


async def show(call: Call) -> Reply:
    """Say how far it is."""
    call.demand("renova:hosts:list")
    host = await host_in_path(call)
    shown = await call.cloud.database.read(lambda tx: drain_view(call, tx, host))
    if shown is None:
        raise NotFound(f"Host {host.name} is not being drained.")
    return Reply(200, {"drain": shown})


async def undo(call: Call) -> Reply:
    """Have the host be used again; what has left it stays where it is."""
    call.demand("renova:hosts:drain")
    host = await host_in_path(call)

    def work(tx: Tx) -> None:
        undo_drain(call.cloud, tx, hosts.get(tx, host.id) or host)

    await call.cloud.database.transact(work)
    return Reply(204)


def drain_view(call: Call, tx: Tx, host: Host) -> dict[str, Any] | None:
    """Return how far the host is with being emptied; None where nobody wants it to be."""
    drain = drains.get(tx, host.id)
    if drain is None:
        return None
    left = leavers(tx, drain, call.cloud.settings.maintenance)
    return {
        "host": host.name,
        "state": progress(left),
        "who": drain.who,
        "began_at": drain.began_at,
        "heard": call.cloud.hosts.up(host.id),  # else nothing can leave it
        "moved": moved(tx, drain),
        **{stage.value: [_view(each) for each in left if each.stage is stage] for stage in Stage},
    }


def _view(leaver: Leaver) -> dict[str, Any]:
    return {
        "server": leaver.server,
        "name": leaver.name,
        "live": leaver.live,
        "copied": leaver.copied,
        "destination": leaver.destination,
        "reason": leaver.reason,
        "attempts": leaver.attempts,
        "again_at": leaver.again_at,
    }
