"""Recoveries of servers whose hosts died: where each stands, how long each stage took, and the proof it rests on."""

from typing import Any

import msgspec

from renova.api.hosts.found import unknown_host
from renova.api.hosts.proofs import proof_view
from renova.api.http import Call, Reply
from renova.model.errors import Invalid, NotFound
from renova.model.ids import ServerId
from renova.model.recovery import Recovery, RecoveryState
from renova.store import hosts, recoveries
from renova.store.database import Tx

MOST = 10_000


async def list_all(call: Call) -> Reply:
    """List recoveries, the newest first; of one state, host or server, where those are named."""
    call.demand("renova:recoveries:list")
    state, server, name = call.one("state"), call.one("server"), call.one("host")
    if state is not None and state not in set(RecoveryState):
        raise Invalid(f"state must be one of {', '.join(RecoveryState)}.")

    def work(tx: Tx) -> list[dict[str, Any]]:
        host = hosts.by_name(tx, name) if name is not None else None
        if name is not None and host is None:
            raise unknown_host(name)
        found = recoveries.find(
            tx,
            states=[RecoveryState(state)] if state is not None else (),
            server=ServerId(server) if server is not None else None,
            host=host.id if host is not None else None,
            limit=MOST,
        )
        return [_view(each) for each in found]

    return Reply(200, {"recoveries": await call.cloud.database.read(work)})


async def show(call: Call) -> Reply:
    """Show the recovery of this number, or the newest of the server of this id or name; with its certificate."""
    call.demand("renova:recoveries:list")
    which = call.path["recovery"]

    def work(tx: Tx) -> dict[str, Any]:
        found = _found(tx, which)
        proof = hosts.proof_numbered(tx, found.proof)
        return _view(found) | {"certificate": None if proof is None else proof_view(tx, proof)}

    return Reply(200, {"recovery": await call.cloud.database.read(work)})


def _found(tx: Tx, which: str) -> Recovery:
    if which.isascii() and which.isdecimal() and len(which) < 19:
        found = recoveries.get(tx, int(which))
        those = [found] if found is not None else []
    else:
        those = recoveries.find(tx, server=ServerId(which), limit=1) or recoveries.find(tx, name=which, limit=1)
    if not those:
        raise NotFound(
            f"There is no recovery {which}, nor one of a server of that id or name: see `renova recoveries`."
        )
    return those[0]


def _view(recovery: Recovery) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(recovery)
    return shown | {"stages": msgspec.to_builtins(recovery.stages), "up_s": recovery.up_s}
