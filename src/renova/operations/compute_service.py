"""Taking a host's compute service out of use and into it again, by whoever else than an administrator by name."""

from renova.hosts.capabilities import DISABLED
from renova.model.host import Host
from renova.operations.cloud import Cloud
from renova.store import drains, hosts
from renova.store.database import Tx
from renova.store.placement import host_provider

DRAINED = "drained for maintenance"


def disable(cloud: Cloud, tx: Tx, host: Host, reason: str, who: str) -> bool:
    """Have nothing new be put on the host; False where that is so already, for whatever reason."""
    if host.disabled:
        return False
    hosts.change(tx, host.id, disabled=True, disabled_reason=reason, disabled_by=who, disabled_at=tx.now)
    host_provider.show_trait(tx, host.id, DISABLED, shown=True)
    tx.then(cloud.fleet.stale)
    return True


def enable_unless_drained(cloud: Cloud, tx: Tx, host: Host) -> bool:
    """Take back what it was disabled for; False where the host is being emptied: it stays out of use then, for that."""
    drain = drains.get(tx, host.id)
    if drain is None:
        enable(cloud, tx, host)
        return True
    drains.take_over(tx, host.id)
    hosts.change(tx, host.id, disabled_reason=DRAINED, disabled_by=drain.who, disabled_at=drain.began_at)
    return False


def enable(cloud: Cloud, tx: Tx, host: Host) -> None:
    """Have servers be put on the host again; so it is not emptied any more."""
    drains.end(tx, host.id)
    hosts.change(tx, host.id, disabled=False, disabled_reason=None, disabled_by=None, disabled_at=None)
    host_provider.show_trait(tx, host.id, DISABLED, shown=False)
    tx.then(cloud.fleet.stale)
