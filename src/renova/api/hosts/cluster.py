"""The cluster as a whole: its era, its hold and what that waits for, actions that wait, controllers, the database."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

import msgspec

from renova.api.http import Call, Reply
from renova.ha import brake
from renova.ha.replication import replication
from renova.ha.sightings import standing_of
from renova.hosts import eras
from renova.model.host import HostState
from renova.model.ids import ServerId
from renova.store import actions, cluster, executors, hosts, posts, recoveries
from renova.store.database import Tx


class Choice(msgspec.Struct, forbid_unknown_fields=True):
    """Where a server that runs on several hosts is to go on."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


async def status(call: Call) -> Reply:
    call.demand("renova:status")
    return await _shown(call)


async def begin_era(call: Call) -> Reply:
    """Go on with this database, which may have lost commits: hosts say what is true."""
    call.demand("renova:eras:begin")
    who = call.caller.user_name
    await call.cloud.database.transact(lambda tx: eras.begin(tx, who))
    return await _shown(call)


async def choose(call: Call) -> Reply:
    """Have a server that was found running on several hosts go on at one of them."""
    call.demand("renova:eras:choose")
    wanted = call.json(Choice)
    server = ServerId(call.path["server"])
    await call.cloud.database.transact(lambda tx: eras.choose(tx, server, wanted.host))
    return await _shown(call)


async def dismiss(call: Call) -> Reply:
    """Wait no longer for a host that is not known here: the caller has seen that it runs nothing of this cloud."""
    call.demand("renova:eras:dismiss")
    who, which = call.caller.user_name, call.path["stranger"]
    await call.cloud.database.transact(lambda tx: eras.dismiss(tx, which, who))
    return await _shown(call)


async def release_brake(call: Call) -> Reply:
    """Have hosts taken for dead again, though many are: the caller has seen that it is they who are, and not we."""
    call.demand("renova:brake:release")
    who = call.caller.user_name
    await call.cloud.database.transact(lambda tx: brake.release(call.cloud, tx, who))
    return await _shown(call)


async def _shown(call: Call) -> Reply:
    def work(tx: Tx) -> dict[str, object]:
        known = cluster.get(tx)
        waiting = eras.waiting(tx) if known.restoring else eras.Waiting((), {})
        return {
            "era": known.era,
            "hold": known.hold,
            "held_at": known.held_at,
            "restoring": known.restoring,
            "brake": known.brake,
            "braked_at": known.braked_at,
            "brake_lifted_until": known.brake_lifted_until,
            "waits_for": [*waiting.hosts, *(each.name for each in waiting.strangers)],
            "strangers": [{"name": each.name, "id": each.host, "since": each.created_at} for each in waiting.strangers],
            "contested": {server: list(those) for server, those in waiting.contested.items()},
            "silent": list(_silent(call, tx)),
            "recoveries": recoveries.counts(tx),
            "accepted_proofs": list(call.cloud.settings.accepted_proofs),
            "controllers": _controllers(tx),
            "waiting": [
                {"server": each.server, "action": each.action, "since": each.started_at, "message": each.message}
                for each in actions.waiting(tx)
            ],
        }

    shown = await call.cloud.database.read(work)
    return Reply(200, shown | {"database": await replication(call.cloud)})


def _silent(call: Call, tx: Tx) -> Iterator[dict[str, object]]:
    """Give the hosts that are to be heard and are not, and have not been proven dead."""
    for host in hosts.every(tx):
        silent_s = call.cloud.hosts.leases.silent_for(host.id)
        if silent_s is None or host.state not in (HostState.UP, HostState.RETURNING):
            continue
        if silent_s >= call.cloud.settings.lease.suspect_after:
            yield {
                "host": host.name,
                "standing": standing_of(call.cloud, host),
                "silent_s": round(silent_s, 1),
            }


def _controllers(tx: Tx) -> list[dict[str, object]]:
    """List those that nobody takes for dead, with what each does for all of them."""
    held: dict[str, list[str]] = {}
    for post in posts.held(tx):
        held.setdefault(post.executor, []).append(post.name)
    now = datetime.fromisoformat(tx.now)
    return [
        {
            "name": each.name,
            "id": each.id,
            "api_address": each.api_address,
            "agents_addresses": each.agents_addresses,
            "release": each.release,
            "started_at": each.started_at,
            "lease_left_s": round((datetime.fromisoformat(each.expires_at) - now).total_seconds(), 1),
            "holds": held.get(each.id, []),
        }
        for each in executors.every(tx)
    ]
