"""All hosts as scheduling sees them: read in one go, kept for a moment, and brought up to date by our own claims.

It may be a little old: then a claim refuses, and another host is tried. Used only inside transactions, which run one
at a time.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from renova.model.clock import Clock
from renova.model.host import HostState, HostView
from renova.model.ids import HostId
from renova.store import hosts, placement, servers
from renova.store.database import Tx

FRESH = 1.0  # seconds for which a picture is used
ZONE = "nova"  # Nova's default availability zone


class Fleet:
    """The hosts of the cloud."""

    def __init__(self, clock: Clock, up: Callable[[HostId], bool]) -> None:
        self._clock = clock
        self._up = up
        self._views: dict[HostId, HostView] = {}
        self._read_at = float("-inf")

    def stale(self, *_: Any) -> None:
        """Have the next use read anew: a host came, went or changed."""
        self._read_at = float("-inf")

    def views(self, tx: Tx) -> list[HostView]:
        now = self._clock.monotonic()
        if now - self._read_at >= FRESH:
            self._views = {view.id: view for view in self._read(tx)}
            self._read_at = now
        return list(self._views.values())

    def claimed(self, host: HostId, amounts: dict[str, int]) -> None:
        """Note a claim of ours, so that the next one does not aim at the same free place."""
        view = self._views.get(host)
        if view is not None:
            used = {name: view.used.get(name, 0) + amounts.get(name, 0) for name in {*view.used, *amounts}}
            self._views[host] = replace(view, used=used, servers=view.servers + 1)

    def _read(self, tx: Tx) -> list[HostView]:
        total: dict[HostId, dict[str, float]] = {}
        used: dict[HostId, dict[str, int]] = {}
        for item in placement.inventory(tx):
            total.setdefault(item.provider, {})[item.resource_class] = item.capacity
            used.setdefault(item.provider, {})[item.resource_class] = item.used
        counts = servers.count_on_hosts(tx)
        return [
            HostView(
                id=host.id,
                name=host.name,
                up=host.state is HostState.UP and not host.forced_down and self._up(host.id),
                disabled=host.disabled,
                zone=ZONE,
                storage=host.facts.storage_id if host.facts else "",
                architecture=host.facts.architecture if host.facts else "",
                total=total.get(host.id, {}),
                used=used.get(host.id, {}),
                servers=counts.get(host.id, 0),
            )
            for host in hosts.every(tx)
        ]
