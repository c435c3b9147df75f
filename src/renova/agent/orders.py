"""May this order be obeyed? Arithmetic on what the host remembers; `requests` has it asked before every act.

An order is as good as its weakest member: a late command of a former era, lease, connection, incarnation, operation
or executor changes nothing here (`wire.Order`). What is obeyed is first noted in the journal.
"""

from msgspec.structs import replace

from renova.agent.journal import HostPage, ServerPage, ThingPage
from renova.model.errors import Broken, NotNow, Stale
from renova.wire.acts import (
    Act,
    AttachNic,
    Define,
    Depart,
    DetachNic,
    DropSnapshot,
    Expect,
    Prepare,
    Remove,
    SoftReboot,
    Start,
    TurnAway,
)
from renova.wire.commands import Order
from renova.wire.results import Departing, LetGo, Result
from renova.wire.storage import StorageOrder


def check(order: Order, act: Act, session: str, host: HostPage, server: ServerPage) -> None:
    """Return if the order may be obeyed; raise `Stale`, or `NotNow` if the host still has to hear of its lease."""
    _check_place(order, session, host)
    if order.incarnation < server.incarnation:
        raise Stale(f"incarnation {order.incarnation} is over: this host has seen {server.incarnation}")
    if order.incarnation <= server.burnt and not isinstance(act, Remove | DropSnapshot | Depart):
        # Remove and Depart burn the incarnation and may be repeated; where a copy of a disk was not dropped, it may
        # still have to go. None of them brings anything to life.
        raise Stale(f"incarnation {order.incarnation} was given up here")
    # A database that lost commits counts operations from where it stands; who speaks for a former one is refused above.
    numbered_anew = 0 < server.era < order.era
    if not numbered_anew and (order.number, order.epoch) < (server.number, server.epoch):
        raise Stale(
            f"operation {order.number} (epoch {order.epoch}) is over: this host has seen "
            f"operation {server.number} (epoch {server.epoch})"
        )


def check_storage(order: StorageOrder, session: str, host: HostPage, thing: ThingPage) -> None:
    """Return if the storage order may be obeyed; raise as `check` does."""
    _check_place(order, session, host)
    if order.version < thing.version:
        raise Stale(f"version {order.version} of {order.thing} is over: this host has seen {thing.version}")


def _check_place(order: Order | StorageOrder, session: str, host: HostPage) -> None:
    if order.session != session:
        raise Stale("the command belongs to another connection")
    if order.era < host.era:
        raise Stale(f"era {order.era} is over: this host has seen era {host.era}")
    if order.host_epoch < host.epoch:
        raise Stale(f"epoch {order.host_epoch} of this host's lease is over: it is at {host.epoch}")
    if (order.era, order.host_epoch) != (host.era, host.epoch):
        # It must be welcomed first: whoever gives it a new lease also says what to clean up before.
        raise NotNow(f"this host was not yet welcomed in era {order.era}, epoch {order.host_epoch}")


def check_shape(order: Order, act: Act) -> None:
    """Raise `Broken` if the act is about another guest than the order."""
    if isinstance(act, Prepare | Start | Define | SoftReboot | Expect):
        guest = act.guest
        if (guest.server, guest.incarnation) != (order.server, order.incarnation):
            raise Broken(
                f"an order for incarnation {order.incarnation} of {order.server} came with the guest of "
                f"incarnation {guest.incarnation} of {guest.server}"
            )


def noted(order: Order, act: Act, page: ServerPage) -> ServerPage:
    """Return the page to be written before the act begins."""
    page = replace(page, incarnation=order.incarnation, number=order.number, epoch=order.epoch, era=order.era)
    if isinstance(act, Remove):
        page = replace(page, burnt=max(page.burnt, order.incarnation))
    if isinstance(act, Start | Define | SoftReboot | Expect):
        # Those of the former definition too, until the act has taken them away.
        ports = {nic.port for nic in act.guest.nics}
        page = replace(page, nics=act.guest.nics + tuple(nic for nic in page.nics if nic.port not in ports))
    if isinstance(act, AttachNic):
        page = replace(page, nics=(*(nic for nic in page.nics if nic.port != act.nic.port), act.nic))
    return page


def settled(order: Order, act: Act, result: Result, page: ServerPage) -> ServerPage:
    """Return the page to be written when the act has been done, with this result, and before that is answered."""
    if isinstance(result, LetGo) and not result.done:
        return page
    if isinstance(result, Departing) and result.departure.left:
        return replace(page, burnt=max(page.burnt, order.incarnation))
    if isinstance(act, Start | Define | SoftReboot | Expect):
        return replace(page, nics=act.guest.nics)
    if isinstance(act, DetachNic):
        return replace(page, nics=tuple(nic for nic in page.nics if nic.port != act.port))
    if isinstance(act, Remove | TurnAway):
        return replace(page, nics=())
    return page
