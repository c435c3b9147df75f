"""What servers take of their hosts, and give back.

A claim is one statement per resource class that adds to `used` only where it fits, so two claims can never both take
the last place.
"""

from sqlalchemy import bindparam, delete, update

from renova.model.errors import Conflict
from renova.model.ids import HostId, ProjectId, ServerId, UserId
from renova.store.database import Tx
from renova.store.placement.allocations import HELD, allocations, begin, changed, note, raise_generation
from renova.store.placement.inventories import inventories
from renova.store.providers import touch
from renova.store.schema import Number

SERVER = "INSTANCE"  # the type of a consumer that is a server, as Nova says it

# Made once: making a statement costs five times as much as running it.
_TAKE = (
    update(inventories)
    .where(
        inventories.c.provider == bindparam("host"),
        inventories.c.resource_class == bindparam("of"),
        inventories.c.used + bindparam("amount")
        <= (inventories.c.total - inventories.c.reserved) * inventories.c.allocation_ratio,
        bindparam("amount") >= inventories.c.min_unit,
        bindparam("amount") <= inventories.c.max_unit,
        bindparam("amount", type_=Number) % inventories.c.step_size == 0,
    )
    .values(used=inventories.c.used + bindparam("amount"))
)
_COUNTED = update(inventories).where(
    inventories.c.provider == bindparam("host"), inventories.c.resource_class == bindparam("of")
)
_OVERDRAW = _COUNTED.values(used=inventories.c.used + bindparam("amount"))
_GIVE_BACK = _COUNTED.values(used=inventories.c.used - bindparam("amount"))
_HELD_OF = HELD.where(allocations.c.provider == bindparam("host"))
_DROP = delete(allocations).where(allocations.c.consumer == bindparam("server"))
_DROP_OF = _DROP.where(allocations.c.provider == bindparam("host"))


def claim(tx: Tx, server: ServerId, project: ProjectId, user: UserId, host: HostId, amounts: dict[str, int]) -> None:
    """Have the server hold these amounts of the host, beside what it holds of others. `Conflict` when they do not fit.

    What it held of this host before is replaced, so a claim may be repeated.
    """
    freed = give_back(tx, server, host)
    for resource_class, amount in amounts.items():
        if not take(tx, server, host, resource_class, amount):
            if freed:
                # The transaction may go on with another host: what was held of this one before is gone.
                touch(tx, host)
                changed(tx, server)
            raise Conflict(f"the host has no room for {amount} {resource_class}")
    _claimed(tx, server, project, user, host)


def overdraw(tx: Tx, server: ServerId, project: ProjectId, user: UserId, host: HostId, amounts: dict[str, int]) -> None:
    """Have the server hold these amounts of the host where it was found, even where they do not fit: it runs there."""
    give_back(tx, server, host)
    for resource_class, amount in amounts.items():
        tx.execute(_OVERDRAW, {"host": host, "of": resource_class, "amount": amount})
        note(tx, server, host, resource_class, amount)
    _claimed(tx, server, project, user, host)


def _claimed(tx: Tx, server: ServerId, project: ProjectId, user: UserId, host: HostId) -> None:
    if not raise_generation(tx, server):
        begin(tx, server, project, user, SERVER)
    touch(tx, host)


def release(tx: Tx, server: ServerId, host: HostId | None = None) -> None:
    """Have the server hold nothing of the host (None: of any host). May be repeated."""
    freed = give_back(tx, server, host)
    for provider in freed:
        touch(tx, provider)
    if freed:
        changed(tx, server)


def take(tx: Tx, consumer: ServerId, provider: str, resource_class: str, amount: int) -> bool:
    """Take it, if it fits."""
    if tx.execute(_TAKE, {"host": provider, "of": resource_class, "amount": amount}).rowcount != 1:
        return False
    note(tx, consumer, provider, resource_class, amount)
    return True


def give_back(tx: Tx, server: ServerId, host: HostId | None = None) -> set[str]:
    """Free what the server holds; return of which providers that was."""
    which = {"server": server} if host is None else {"server": server, "host": host}
    held = tx.execute(HELD if host is None else _HELD_OF, which).all()
    for row in held:
        tx.execute(_GIVE_BACK, {"host": row.provider, "of": row.resource_class, "amount": row.amount})
    if held:
        tx.execute(_DROP if host is None else _DROP_OF, which)
    return {row.provider for row in held}
