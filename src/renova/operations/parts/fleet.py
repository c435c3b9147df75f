"""All hosts as scheduling sees them: read in one go, kept for a moment, and brought up to date by our own claims.

It may be a little old: then a claim refuses, and another host is tried. Used only inside transactions, which run one
at a time.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from renova.model.aggregate import Aggregate
from renova.model.clock import Clock
from renova.model.guest import HostFacts
from renova.model.host import HostState, HostView
from renova.model.ids import HostId
from renova.store import aggregates, hosts, placement, servers
from renova.store.database import Tx

FRESH = 1.0  # seconds for which a picture is used


class Fleet:
    """The hosts of the cloud."""

    def __init__(self, clock: Clock, up: Callable[[HostId], bool]) -> None:
        self._clock = clock
        self._up = up
        self._views: dict[HostId, HostView] = {}
        self._read_at = float("-inf")
        self.marks: frozenset[str] = frozenset()  # metadata keys of all hosts' aggregates, as of the last look

    def stale(self, *_: Any) -> None:
        """Have the next use read anew: a host came, went or changed."""
        self._read_at = float("-inf")

    def views(self, tx: Tx) -> list[HostView]:
        now = self._clock.monotonic()
        if now - self._read_at >= FRESH:
            self._views = {view.id: view for view in self._read(tx)}
            self._read_at = now
            self.marks = frozenset(key for view in self._views.values() for key in view.marks)
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
        grouped = aggregates.of_hosts(tx)
        return [
            HostView(
                id=host.id,
                name=host.name,
                up=host.state is HostState.UP and not host.forced_down and self._up(host.id),
                disabled=host.disabled,
                zone=aggregates.zone_among(grouped.get(host.id, [])),
                marks=_marks(grouped.get(host.id, [])),
                storage=host.facts.storage_id if host.facts else "",
                architecture=host.facts.architecture if host.facts else "",
                total=total.get(host.id, {}),
                used=used.get(host.id, {}),
                servers=counts.get(host.id, 0),
                hypervisor_type=host.facts.hypervisor_type if host.facts else "",
                hypervisor_version=host.facts.hypervisor_version if host.facts else 0,
                hypervisor_types=_hypervisor_types(host.facts),
                cpu_info=host.facts.cpu_info if host.facts else {},
            )
            for host in hosts.every(tx)
        ]


def _marks(found: list[Aggregate]) -> dict[str, frozenset[str]]:
    """Return the metadata of a host's aggregates: every value that a key has; one may list several with commas."""
    marks: dict[str, frozenset[str]] = {}
    for aggregate in found:
        for key, text in aggregate.metadata.items():
            marks[key] = marks.get(key, frozenset()) | {value.strip() for value in text.split(",")}
    return marks


def _hypervisor_types(facts: HostFacts | None) -> frozenset[str]:
    """Return what an image may call the host's hypervisor: QEMU emulates everywhere, KVM only where it works."""
    if facts is None:
        return frozenset()
    return frozenset(
        {facts.hypervisor_type.lower(), "kvm"} if facts.accelerator == "kvm" else {facts.hypervisor_type.lower()}
    )
