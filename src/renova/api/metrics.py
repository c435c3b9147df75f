"""Figures for Prometheus, in its formats, at /metrics: for whoever may reach the port, so no names are in them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from renova.api.http import Call, Reply
from renova.ha.sightings import standing_of
from renova.ha.standing import Standing
from renova.model.recovery import RecoveryState
from renova.operations.cloud import Cloud
from renova.store import cluster, hosts, recoveries
from renova.store.database import Tx

S = TypeVar("S", bound=StrEnum)


async def metrics(call: Call) -> Reply:
    """Tell how hosts and recoveries stand, and how long recoveries took that this controller brought to their end."""
    standing = await call.cloud.database.read(lambda tx: _standing(call.cloud, tx))
    encode, content_type = choose_encoder(call.headers.get("accept", ""))
    return Reply(200, encode(_Figures(standing, call.cloud.measures.registry)), {"content-type": content_type})


@dataclass(frozen=True)
class _Figures(Collector):
    """What one answer has: what was read for it, and what has been counted."""

    standing: Iterable[Metric]
    counted: Collector

    def collect(self) -> Iterable[Metric]:
        yield from self.standing
        yield from self.counted.collect()


def _standing(cloud: Cloud, tx: Tx) -> list[Metric]:
    stand = Counter(standing_of(cloud, host) for host in hosts.every(tx))
    known = cluster.get(tx)
    return [
        _by_state("renova_hosts", "Hosts by how they stand, as this controller sees them.", Standing, stand),
        _by_state(
            "renova_recoveries",
            "Recoveries of servers whose hosts died, by how they stand.",
            RecoveryState,
            recoveries.counts(tx),
        ),
        GaugeMetricFamily(
            "renova_brake",
            "Whether no host is taken for dead by itself, for too many are silent.",
            value=int(known.brake is not None),
        ),
        GaugeMetricFamily(
            "renova_hold",
            "Whether the cluster is on hold, for its database lost commits.",
            value=int(known.hold is not None),
        ),
    ]


def _by_state(name: str, text: str, states: Iterable[S], counts: Mapping[S, int]) -> Metric:
    """Return how many there are in each state, none in some: what is not told at all cannot be alerted on."""
    family = GaugeMetricFamily(name, text, labels=["state"])
    for state in states:
        family.add_metric([state], counts.get(state, 0))
    return family
