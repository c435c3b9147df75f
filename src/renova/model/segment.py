"""Failover segments, as Masakari has them: hosts that stand in for one another, and how that is wished."""

from enum import StrEnum

import msgspec


class RecoveryMethod(StrEnum):
    """Whether hosts that are kept in reserve take part when another of the segment dies (Masakari's words)."""

    AUTO = "auto"  # they do not
    RESERVED_HOST = "reserved_host"  # one does at once
    AUTO_PRIORITY = "auto_priority"  # one does when there is no room elsewhere
    RH_PRIORITY = "rh_priority"  # one does at once


AT_ONCE = (RecoveryMethod.RESERVED_HOST, RecoveryMethod.RH_PRIORITY)


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """Hosts for which alarms are heeded, as long as it is enabled."""

    id: int
    uuid: str
    name: str
    description: str | None
    recovery_method: RecoveryMethod
    service_type: str
    enabled: bool
    created_at: str
    updated_at: str | None


class SegmentHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host's place in a segment. It is known by its name, so that it keeps its place when it is enrolled anew."""

    id: int
    uuid: str
    segment: str  # by uuid
    name: str
    type: str | None  # kept for whoever reads it, as what controls it is
    control_attributes: str | None
    reserved: bool
    on_maintenance: bool
    created_at: str
    updated_at: str | None
