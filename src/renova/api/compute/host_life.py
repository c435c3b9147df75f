"""Whether a host counts as up: what is observed now, and what the database knows."""

from renova.model.host import Host, HostState
from renova.operations.cloud import Cloud


def is_up(cloud: Cloud, host: Host) -> bool:
    return host.state is HostState.UP and not host.forced_down and cloud.hosts.up(host.id)
