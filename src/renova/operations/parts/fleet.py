"""All hosts as scheduling sees them, kept on a board: what has changed in the database is read when it is next used.

Whether a host is heard is nothing the database knows; it is looked at every moment, and when a host comes or goes. So
the board may be a little old: then a claim refuses, and another host is tried. Used only inside transactions that may
write, which run one at a time.
"""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from renova.model.aggregate import Aggregate
from renova.model.clock import Clock
from renova.model.guest import HostFacts
from renova.model.host import Host, HostState, HostView
from renova.model.ids import HostId
from renova.model.provider import ProviderView
from renova.scheduling.board import Board
from renova.store import aggregates, hosts
from renova.store.database import Standing, Tx
from renova.store.picture import FEW, Picture

FRESH = 1.0  # seconds after which it is asked again which hosts are heard


class Fleet:
    """The hosts of the cloud."""

    def __init__(self, clock: Clock, up: Callable[[HostId], bool], standing: Callable[[], Standing] = Standing) -> None:
        self._clock = clock
        self._up = up
        self._picture = Picture(standing)
        self._board = Board()
        self._usable: dict[HostId, bool] = {}  # what the database has to say of its being up
        self._looked_at = float("-inf")

    def stale(self, *_: Any) -> None:
        """Have the next use ask which hosts are heard: one came, went or changed."""
        self._looked_at = float("-inf")

    def views(self, tx: Tx) -> list[HostView]:
        return list(self.board(tx).views)

    def board(self, tx: Tx) -> Board:
        """Return all hosts as of now; it is good until the next use of the fleet."""
        if changed := self._picture.refresh(tx):
            self._read(tx, changed)
        now = self._clock.monotonic()
        if now - self._looked_at >= FRESH:
            self._look()
            self._looked_at = now
        return self._board

    def _read(self, tx: Tx, changed: Sequence[str]) -> None:
        many = len(changed) > FEW
        rows = {host.id: host for host in (hosts.every(tx) if many else hosts.some(tx, changed))}
        grouped = aggregates.of_hosts(tx) if many else {}
        for provider in map(HostId, changed):
            host, view = rows.get(provider), self._picture.views.get(provider)
            if host is None or view is None:
                self._board.drop(provider)
                self._usable.pop(provider, None)
                continue
            usable = self._usable[provider] = host.state is HostState.UP and not host.forced_down
            found = grouped.get(provider, []) if many else aggregates.of_host(tx, provider)
            self._board.put(_view(host, view, found, up=usable and self._up(provider)))

    def _look(self) -> None:
        for host in list(self._board.views):
            up = self._usable[host.id] and self._up(host.id)
            if up is not host.up:
                self._board.put(replace(host, up=up))


def _view(host: Host, provider: ProviderView, found: list[Aggregate], *, up: bool) -> HostView:
    return HostView(
        id=host.id,
        name=host.name,
        up=up,
        disabled=host.disabled,
        zone=aggregates.zone_among(found),
        marks=_marks(found),
        storage=host.facts.storage_id if host.facts else "",
        architecture=host.facts.architecture if host.facts else "",
        evacuates=host.facts.capabilities.evacuate if host.facts else True,
        receives_live=host.facts.capabilities.live_migration if host.facts else False,
        total={name: stock.capacity for name, stock in provider.stocks.items()},
        used={name: stock.used for name, stock in provider.stocks.items()},
        units={name: (stock.min_unit, stock.max_unit, stock.step_size) for name, stock in provider.stocks.items()},
        traits=provider.traits,
        servers=provider.consumers,
        hypervisor_type=host.facts.hypervisor_type if host.facts else "",
        hypervisor_version=host.facts.hypervisor_version if host.facts else 0,
        hypervisor_types=_hypervisor_types(host.facts),
        cpu_info=host.facts.cpu_info if host.facts else {},
    )


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
