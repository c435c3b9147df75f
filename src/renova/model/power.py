"""A host's power: what was read of it, and what switches it."""

from enum import StrEnum

import msgspec

from renova.model.ids import HostId


class Reading(StrEnum):
    """What a power controller says; only OFF is evidence, and only twice. "Powering off" is not off."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"  # asked and not answered, or an answer that is neither


class Said(msgspec.Struct, frozen=True):
    """One answer of a power controller."""

    reading: Reading
    system: str = ""  # the machine's UUID as the power controller knows it; "" where its kind tells none
    why: str = ""  # of UNKNOWN, for people


class PowerController(msgspec.Struct, frozen=True, kw_only=True):
    """What a host's power is switched by, as an operator wired it. No field of it is secret but `sealed`."""

    host: HostId
    kind: str  # "redfish" or "fence_agent"
    address: str
    username: str
    options: dict[str, str]
    secrets: tuple[str, ...]  # their names
    sealed: str  # their values, encrypted
    system: str  # the machine's UUID as it was enrolled; "" where the kind tells none
    tested_at: str | None = None  # when its power was last read
    rehearsed_at: str | None = None  # when it was last switched off and on to see it work
    wired_by: str
    created_at: str
    updated_at: str


def same_system(one: str, other: str) -> bool:
    """Say whether two system UUIDs are of the same machine.

    Firmware and BMC may write the first three fields in either byte order (SMBIOS 2.6, section 7.2.1).
    """
    return _plain(one) in (_plain(other), _swapped(_plain(other)))


def _plain(uuid: str) -> str:
    return uuid.lower().replace("-", "").strip("{}")


def _swapped(plain: str) -> str:
    try:
        raw = bytes.fromhex(plain)
    except ValueError:
        return plain
    return (raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]).hex() if len(raw) == 16 else plain
