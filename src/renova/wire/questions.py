"""What a host is asked without changing anything."""

from typing import Annotated, TypeAlias

from msgspec import Meta

from renova.model.ids import ServerId
from renova.wire.acts import Act
from renova.wire.message import MOST_SOUGHT, HostMark, Message


class ReadConsole(Act, frozen=True, tag="read-console"):
    """Give the last `limit` bytes of the server's console log."""

    server: ServerId
    limit: int


class ReadAsides(Act, frozen=True, tag="read-asides"):
    """List the disks that were set aside."""


class ListGuests(Act, frozen=True, tag="list-guests"):
    """List the guests that are here."""


class ReadGuest(Act, frozen=True, tag="read-guest"):
    """Say how the server's guest is. Result: State."""

    server: ServerId


class ReadDevices(Act, frozen=True, tag="read-devices"):
    """Say which devices the server's guest has. Result: Devices."""

    server: ServerId


class LookFor(Act, frozen=True, tag="look-for"):
    """Say at which of these addresses on the underlay a machine answers. Result: Sighted."""

    addresses: tuple[str, ...]


class ListenFor(Act, frozen=True, tag="listen-for"):
    """Say whether the heartbeats of these hosts go on, which share their instances directory with it. Result: Heard."""

    hosts: Annotated[tuple[HostMark, ...], Meta(max_length=MOST_SOUGHT)]


Question: TypeAlias = ReadConsole | ReadAsides | ListGuests | ReadGuest | ReadDevices | LookFor | ListenFor


class Read(Message, frozen=True, kw_only=True, tag="read"):
    """A question that changes nothing and needs no right."""

    id: int
    what: Question
