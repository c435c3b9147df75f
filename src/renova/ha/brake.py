"""The brake: where too many hosts fall silent at once, it may be the controllers who are cut off, and all wait.

Asked in the very transaction that takes a host for dead without anybody's word, or decides to switch it off: writers
take turns in the whole cloud (decision 0018), so several controllers do not go beyond the limit together. Once it is
on it stays on until an operator releases it; operators' words count meanwhile.
"""

from collections.abc import Set

import structlog

from renova.model.clock import later
from renova.model.errors import Conflict
from renova.model.ids import HostId
from renova.operations.cloud import Cloud
from renova.operations.parts.notify import notify_operators
from renova.settings import BrakeSettings
from renova.store import cluster, hosts
from renova.store.database import Tx

log = structlog.get_logger()


def limit(members: int, settings: BrakeSettings) -> int:
    """Return how many of so many hosts may be taken for dead at once."""
    return max(int(settings.share * members), min(settings.hosts, members // 2))


def admits(cloud: Cloud, tx: Tx, host: HostId, silent: Set[HostId]) -> bool:
    """Say whether the host may be taken for dead or switched off; if it is one too many, engage the brake.

    `silent`: the hosts that whoever asks should hear and has not heard for as long as makes them suspect.
    """
    settings = cloud.settings.brake
    # What was decided later than this was so before the database's clock went back, and for long it would be "at once".
    lately = later(tx.now, -settings.window), later(tx.now, settings.window)
    condemned = hosts.condemned(tx, *lately)
    if host in condemned and _is_under_way(tx, host):
        hosts.condemn(tx, host)  # it was counted then, and counts from now
        return True
    standing = cluster.get(tx)
    if not _lifted(standing.brake_lifted_until, tx.now, settings):
        if standing.brake is not None:
            return False
        touched, members = len(condemned | silent | {host}), hosts.members(tx, *lately)
        if touched > (most := limit(members, settings)):
            _engage(cloud, tx, touched, members, most)
            return False
    hosts.condemn(tx, host)
    return True


def _is_under_way(tx: Tx, host: HostId) -> bool:
    """Say whether the death that was decided is still to be proven. One that came back and dies again is one more."""
    row = hosts.get(tx, host)
    newest = next(iter(hosts.proofs_of(tx, host, limit=1)), None)
    return newest is None or row is None or newest.created_at < (row.condemned_at or "")


def release(cloud: Cloud, tx: Tx, who: str) -> None:
    """Take the operator's word that hosts are really dead: for a while, as many as are may be taken for dead."""
    if cluster.get(tx).brake is None:
        raise Conflict("The brake is not on. What would prove a silent host dead is in `renova host show HOST`.")
    cluster.release_brake(tx, later(tx.now, cloud.settings.brake.window))
    notify_operators(cloud, tx, "cluster.brake.released", {"by": who})
    tx.then(lambda: log.warning("brake released", by=who))


def _lifted(until: str | None, now: str, settings: BrakeSettings) -> bool:
    # One that is further away was set before the database's clock went back.
    return until is not None and now <= until <= later(now, settings.window)


def _engage(cloud: Cloud, tx: Tx, touched: int, members: int, most: int) -> None:
    reason = (
        f"{touched} of {members} hosts are silent, or were taken for dead within {cloud.settings.brake.window:g} s, "
        f"and no more than {most} may be: it may be the controllers that are cut off"
    )
    cluster.engage_brake(tx, reason)
    facts = {"reason": reason, "hosts": touched, "of": members, "most": most}
    notify_operators(cloud, tx, "cluster.brake.engaged", facts)
    tx.then(lambda: log.critical("brake engaged", reason=reason))
