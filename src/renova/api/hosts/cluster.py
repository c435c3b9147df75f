"""The cluster as a whole: its era, its hold and what that waits for, actions that wait, controllers, the database."""

from datetime import datetime
from typing import Annotated

import msgspec

from renova.api.http import Call, Reply
from renova.ha.replication import replication
from renova.hosts import eras
from renova.model.ids import ServerId
from renova.store import actions, cluster, executors, posts
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


async def _shown(call: Call) -> Reply:
    def work(tx: Tx) -> dict[str, object]:
        standing = cluster.get(tx)
        waiting = eras.waiting(tx) if standing.restoring else eras.Waiting((), {})
        return {
            "era": standing.era,
            "hold": standing.hold,
            "held_at": standing.held_at,
            "restoring": standing.restoring,
            "waits_for": list(waiting.hosts),
            "contested": {server: list(hosts) for server, hosts in waiting.contested.items()},
            "accepted_proofs": list(call.cloud.settings.accepted_proofs),
            "controllers": _controllers(tx),
            "waiting": [
                {"server": each.server, "action": each.action, "since": each.started_at, "message": each.message}
                for each in actions.waiting(tx)
            ],
        }

    shown = await call.cloud.database.read(work)
    return Reply(200, shown | {"database": await replication(call.cloud)})


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
