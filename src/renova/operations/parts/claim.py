"""Claiming a host for a server, choice, allocation and right in one transaction; and giving the claim back."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from renova.model.errors import Conflict, NotNow, OnHold, details_of
from renova.model.host import HostView, Right
from renova.model.ids import HostId
from renova.model.server import Server
from renova.operations.parts.run_guest import Built, freed
from renova.operations.work import Work
from renova.scheduling.choose import no_host, rank
from renova.scheduling.request import Request
from renova.store import cluster, rights
from renova.store.database import Tx
from renova.store.placement import claims

T = TypeVar("T")


class Claim(msgspec.Struct, frozen=True):
    """A host that was claimed, and the incarnation it was granted."""

    host: HostId
    name: str
    incarnation: int
    storage: str


def claim(
    work: Work, tx: Tx, server: Server, request: Request, *, migration: int | None = None, failed: Built | None = None
) -> Claim:
    """Claim the best host that has room and grant it the server. `Conflict` explains why no host will do.

    `failed` is how the host that was tried before could not have the server: told where no other is left.
    Two claims that both saw the last free place cannot both take it: the amounts are tested again as they are added,
    and where the members of a group are was read in this very transaction (`needs`).
    """

    def take(host: HostView) -> Claim:
        _hold(tx, server, request, host)
        right = rights.grant(tx, server.id, host.id, migration)
        return Claim(host.id, host.name, right.incarnation, host.storage)

    return _best(work, tx, server, request, take, failed)


def hold_room(work: Work, tx: Tx, server: Server, request: Request) -> HostView:
    """Hold what the server needs of the best host that has room, without a right to it; `Conflict` as `claim`."""

    def take(host: HostView) -> HostView:
        _hold(tx, server, request, host)
        return host

    return _best(work, tx, server, request, take)


def _hold(tx: Tx, server: Server, request: Request, host: HostView) -> None:
    claims.claim(tx, server.id, server.project, server.user, host.id, request.resources)


def _best(
    work: Work, tx: Tx, server: Server, request: Request, take: Callable[[HostView], T], failed: Built | None = None
) -> T:
    """Return what was taken of the first host, from the best on, that can be had."""
    fleet = work.cloud.fleet
    ranking = rank(request, fleet.board(tx))
    last: Conflict | None = None
    for host in ranking.best():
        try:
            return take(host)
        except Conflict as error:
            # The picture was stale: this host has filled up, or gone. What it was given so far is taken back.
            claims.release(tx, server.id, host.id)
            last = error
    fleet.stale()
    if not work.cloud.hosts.settled:
        raise NotNow("this controller has just begun, and has not heard all hosts yet")
    if request.group is not None and request.group.unsettled:
        # They may fail there, and then be free to go where all of the group can.
        where = " or ".join(sorted(request.group.bound.values()))
        raise NotNow(
            f"others of its server group are still being built: {ranking.explanation()}", details=f"on {where}"
        )
    details = "; ".join(filter(None, (details_of(last), failed.details if failed else "")))
    raise Conflict(no_host(str(last or ranking.explanation()), (failed and failed.refused) or ""), details=details)


def give_claim_back(work: Work, tx: Tx, claimed: Right, *, built: bool) -> None:
    """Free a claimed host, unless something of the server may be left there: then it owes a clean-up.

    `built`: the guest may have been begun there. Who has cleared it away has freed the host as well; if it is not free,
    that has failed, for whatever reason.
    In a database that lost commits, a journal that ends before the guest was built proves nothing: it may have been
    built in what was lost. So a host that was claimed before this era began owes, whatever the journal says.
    """
    standing = cluster.get(tx)
    if standing.hold is not None:
        raise OnHold(f"the cluster is on hold: {standing.hold}")
    if built or not rights.of_this_era(tx, claimed):
        rights.owe(tx, claimed.host, work.held.server, claimed.incarnation + 1)
    if not rights.owes(tx, claimed.host, work.held.server):
        freed(work, tx, claimed.host)
