"""How a guard introduces itself and renews its host's lease, and how that ends."""

from typing import Annotated

import msgspec
from msgspec import Meta

from renova.model.guest import Count
from renova.wire.message import Interval, Mark, Message, Seconds, Text


class GuardHello(Message, frozen=True, kw_only=True, tag="guard-hello"):
    """A guard introduces its host, and says the highest era and epoch that it has ever kept its lease under."""

    name: Text
    boot: Mark
    era: Count  # 0 for none
    epoch: Count


class GuardTimes(msgspec.Struct, frozen=True):
    """What the controllers allow for, against which a guard checks what it has (settings.LeaseTimes)."""

    stop_budget: float  # seconds from the deadline until nothing of the host runs
    drift: float  # share by which its clock may be wrong


class GuardWelcome(Message, frozen=True, kw_only=True, tag="guard-welcome"):
    """The guard may renew over this connection. Under which lease, `Fenced` tells it: this is no renewal."""

    controller: Mark  # one run of a controller
    renew: Interval  # seconds between renewals
    times: GuardTimes
    peers: tuple[str, ...] = ()
    controllers: tuple[str, ...] = ()


class Renew(Message, frozen=True, kw_only=True, tag="renew"):
    """The host asks for its lease to be prolonged; the deadline will count from when this was sent."""

    nonce: Count
    boot: Mark
    era: Count
    epoch: Count
    counter: Count  # last heard
    guard: Annotated[str, Meta(max_length=8, pattern="^[A-Za-z]*$")] = "none"  # a `GuardClass`, as it is now
    stops_in: Annotated[float, Meta(ge=0, le=86_400)] = 0.0  # seconds from the deadline, what makes the class included
    clock: float = 0.0  # the guard's clock as this was sent; 0: not told
    home: Mark | None = None  # the controller that the agent calls home, "": the agent is away; None: who sends this
    witness: Mark | None = None  # the word that the guard has read in the witness, "": none yet; None: it reads none


class Renewed(Message, frozen=True, kw_only=True, tag="renewed"):
    """The renewal with this nonce is committed."""

    nonce: Count
    era: Count
    epoch: Count
    counter: Count
    ttl: Seconds
    returning: bool = False  # the host is not in its place yet: an armed guard keeps its gate closed
    witness: Annotated[float, Meta(ge=0, le=86_400)] = 0.0  # seconds for which a read of the witness counts; 0: none


class Fenced(Message, frozen=True, kw_only=True, tag="fenced"):
    """The lease was revoked: this epoch is over. A host that is not beyond it must stop acting and say hello again.

    To a guard it says which lease the host has now. There is none while `next_epoch` is 0: then its agent has to
    register the host first, for it has booted, or is proven dead.
    """

    epoch: Count
    next_era: Count = 0
    next_epoch: Count = 0
