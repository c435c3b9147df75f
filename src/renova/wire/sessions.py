"""How an agent's connection begins, what its host is told of the others meanwhile, and what it reports."""

from typing import Annotated, Literal

from msgspec import Meta

from renova.model.guest import Count, FoundGuest, GuestChanged, HostFacts
from renova.model.storage import StorageFacts
from renova.wire.duties import Duty
from renova.wire.message import MOST_GUESTS, Interval, Mark, Message, Seconds, Text


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """An agent introduces its host: what booted, what it has, and the highest numbers it ever obeyed."""

    name: Text
    address: Mark  # on the underlay, for tunnels
    boot: Mark  # changes with every boot of the host
    journal: Mark  # changes when the agent's journal was lost
    era: Count  # highest seen, 0 for none
    epoch: Count  # of the host's lease, highest seen
    facts: HostFacts
    guests: Annotated[tuple[FoundGuest, ...], Meta(max_length=MOST_GUESTS)]
    role: Literal["compute", "storage"] = "compute"
    storage: StorageFacts | None = None  # of a storage host
    system: Mark = ""  # the machine's UUID as its firmware tells it; "" where it tells none


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    """The host's place: era, lease, and what it has to do before it is up."""

    host: Text
    session: Mark  # commands of this connection carry it
    era: Count
    epoch: Count
    ttl: Seconds  # seconds
    renew: Interval  # seconds between renewals
    duties: tuple[Duty, ...]
    peers: tuple[str, ...]
    forced_down: bool = False
    controller: Mark = ""  # who welcomes: one run of a controller
    controllers: tuple[str, ...] = ()  # host:port of all agents' ports; none: not known
    # How long a guest that had answered is silent, in seconds, until it counts as hung; 0: it never does.
    hang_after: Annotated[float, Meta(ge=0, le=86_400)] = 0.0


class Standing(Message, frozen=True, kw_only=True, tag="standing"):
    """Whether an operator has forced the host down: then it starts no guest until that is taken back."""

    forced_down: bool


class Peers(Message, frozen=True, kw_only=True, tag="peers"):
    """All other ends of the tunnels between hosts, replacing what was told before."""

    addresses: tuple[str, ...]


class Controllers(Message, frozen=True, kw_only=True, tag="controllers"):
    """Where agents reach the controllers that live, replacing what was told before."""

    addresses: tuple[str, ...]  # host:port


class Report(Message, frozen=True, kw_only=True, tag="report"):
    """Guests changed by themselves. Sent until it is answered with Reported, perhaps to another controller."""

    changes: Annotated[tuple[GuestChanged, ...], Meta(max_length=MOST_GUESTS)]
    id: int = 0  # 0: no answer is wanted


class Reported(Message, frozen=True, kw_only=True, tag="reported"):
    """What the report says is in the database, as far as it counts."""

    id: int
