"""Join tokens: what an operator hands to new hosts."""

from typing import Annotated

import msgspec

from renova.api.http import Call, Reply
from renova.hosts.registration import give_token
from renova.store.database import Tx


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """How many tokens, each good for one host, and for how many hours."""

    count: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    hours: Annotated[float, msgspec.Meta(gt=0, le=24 * 365)] = 1.0


async def create(call: Call) -> Reply:
    """Make join tokens; they are shown here once, and only their hashes are kept."""
    call.demand("renova:join_tokens:create")
    wanted = call.json(Wanted) if call.body else Wanted()
    secrets = [call.cloud.chance.secret() for _ in range(wanted.count)]
    tokens = [call.cloud.agents.join_token(secret) for secret in secrets]  # first: it may not be time yet

    def work(tx: Tx) -> None:
        for secret in secrets:
            give_token(tx, secret, wanted.hours)

    await call.cloud.database.transact(work)
    return Reply(201, {"join_tokens": tokens})
