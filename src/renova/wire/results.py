"""How what was asked for came out, one kind of result or another."""

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from renova.model.guest import Aside, Departure, FoundDevices, FoundGuest, Way
from renova.model.sighting import Heart
from renova.model.storage import Export
from renova.wire.message import MOST_SOUGHT


class Prepared(msgspec.Struct, frozen=True, tag="prepared"):
    """Whether disks were made now, or all were there; or which generation of them is here instead (0: none)."""

    made: bool
    instead: int = 0


class Rebooted(msgspec.Struct, frozen=True, tag="rebooted"):
    """Whether the guest restarted by itself."""

    done: bool


class Copied(msgspec.Struct, frozen=True, tag="copied"):
    """The size of a copy in bytes."""

    size: int


class Saved(msgspec.Struct, frozen=True, tag="saved"):
    """Whether the guest's memory is saved here; not when it was off before."""

    done: bool


class LetGo(msgspec.Struct, frozen=True, tag="let-go"):
    """Whether the guest has let go of the device."""

    done: bool


class Expected(msgspec.Struct, frozen=True, tag="expected"):
    """The way by which the guest is expected."""

    way: Way


class Departing(msgspec.Struct, frozen=True, tag="departing"):
    """How far the guest is."""

    departure: Departure


class State(msgspec.Struct, frozen=True, tag="state"):
    """The guest as it is after the act; None when there is none."""

    guest: FoundGuest | None


class ConsoleText(msgspec.Struct, frozen=True, tag="console"):
    """The end of a guest's console log."""

    text: bytes


class Guests(msgspec.Struct, frozen=True, tag="guests"):
    """The guests that the host has, whoever started them."""

    guests: tuple[FoundGuest, ...]


class Devices(msgspec.Struct, frozen=True, tag="devices"):
    """The devices that the guest has."""

    devices: FoundDevices


class Tidied(msgspec.Struct, frozen=True, tag="tidied"):
    """The names of the cached images that were deleted."""

    dropped: tuple[str, ...]


class Asides(msgspec.Struct, frozen=True, tag="asides"):
    """The disks that the host has set aside."""

    asides: tuple[Aside, ...]


class Stored(msgspec.Struct, frozen=True, tag="stored"):
    """The names that the thing is served under now: those that were wanted."""

    exports: tuple[Export, ...] = ()


class Sighted(msgspec.Struct, frozen=True, tag="sighted"):
    """The addresses at which a machine answers, of those that were asked for."""

    addresses: tuple[str, ...]


class Heard(msgspec.Struct, frozen=True, tag="heard"):
    """The heartbeats that were found on the storage, of those that were asked for."""

    hearts: Annotated[tuple[Heart, ...], Meta(max_length=MOST_SOUGHT)]


Result: TypeAlias = (
    Prepared
    | Rebooted
    | Copied
    | LetGo
    | Saved
    | Expected
    | Departing
    | State
    | ConsoleText
    | Asides
    | Guests
    | Devices
    | Tidied
    | Stored
    | Sighted
    | Heard
)
