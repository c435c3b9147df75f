"""What a host's place in a failover segment means: out of use for maintenance, or kept in reserve until it is needed.

Both are the host's compute service being disabled, with a reason by which it is known who may enable it again. So a
host on maintenance gets no servers, is not switched off, and its servers are not brought up elsewhere by themselves.
"""

from functools import partial

import structlog

from renova.model.host import Host
from renova.model.segment import AT_ONCE, RecoveryMethod, Segment, SegmentHost
from renova.operations import compute_service
from renova.operations.cloud import Cloud
from renova.store import drains, hosts, segments, servers
from renova.store.database import Tx

log = structlog.get_logger()

MAINTENANCE = "on maintenance in its failover segment"
RESERVED = "kept in reserve in its failover segment"


def reason_for(on_maintenance: bool, reserved: bool) -> str | None:
    """Say why the compute service of a host with these flags is to be disabled; None where it is not."""
    if on_maintenance:
        return MAINTENANCE
    return RESERVED if reserved else None


def follow_flags(cloud: Cloud, tx: Tx, name: str, *, on_maintenance: bool, reserved: bool, who: str) -> None:
    """Have the host's compute service be as its place says; what somebody else has disabled stays so."""
    host = hosts.compute_host_named(tx, name)
    if host is None:
        return
    if host.disabled and host.disabled_reason in (MAINTENANCE, RESERVED):
        compute_service.enable_unless_drained(cloud, tx, host)
        host = hosts.compute_host_named(tx, name)
        assert host is not None
    if (reason := reason_for(on_maintenance, reserved)) is not None:
        compute_service.disable(cloud, tx, host, reason, who)


def follow_place(cloud: Cloud, tx: Tx, name: str, who: str) -> None:
    """Have the host's compute service be as its place says, if it has one."""
    place = segments.host_named(tx, name)
    if place is not None:
        follow_flags(cloud, tx, name, on_maintenance=place.on_maintenance, reserved=place.reserved, who=who)


def call_up(cloud: Cloud, tx: Tx, dead: Host, *, room_lacks: bool = False) -> str | None:
    """Take a host into use that is kept in reserve for the dead one, where its segment wants that; returns its name."""
    place = segments.host_named(tx, dead.name)
    segment = segments.get(tx, place.segment) if place else None
    if segment is None or not _wants(segment, room_lacks) or dead.disabled or not servers.on_host(tx, dead.id):
        return None
    for reserve in sorted(segments.hosts_of(tx, segment.uuid), key=lambda each: each.name):
        host = _in_reserve(tx, reserve)
        if host is not None and host.id != dead.id and cloud.hosts.up(host.id):
            segments.change_host(tx, reserve.uuid, reserved=False)
            compute_service.enable(cloud, tx, host)
            tx.then(partial(log.warning, "reserved host called up", host=host.name, dead=dead.name))
            return host.name
    return None


def _wants(segment: Segment, room_lacks: bool) -> bool:
    method = segment.recovery_method
    return segment.enabled and (method in AT_ONCE or (room_lacks and method is RecoveryMethod.AUTO_PRIORITY))


def _in_reserve(tx: Tx, place: SegmentHost) -> Host | None:
    host = hosts.compute_host_named(tx, place.name) if place.reserved and not place.on_maintenance else None
    return host if host is not None and drains.get(tx, host.id) is None else None  # else somebody is at work there
