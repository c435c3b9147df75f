"""The campaign: hosts die many times in a row, in each way; then the control plane is away. And its tables."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import msgspec
from rich.table import Table

from renova.lab.cloud import LabCloud
from renova.lab.progress import Teller
from renova.lab.recovery.deaths import KINDS, Death, Deaths, Kind
from renova.lab.recovery.guarding import Guarding
from renova.lab.recovery.lives import Lives
from renova.lab.recovery.outages import Outage, outage
from renova.lab.recovery.servers import Servers
from renova.model.errors import CloudError


class Report(msgspec.Struct):
    """What was measured so far, and what ended it too early, if anything did."""

    deaths: list[Death] = msgspec.field(default_factory=list)
    outages: list[Outage] = msgspec.field(default_factory=list)
    failure: str = ""

    @property
    def kept(self) -> bool:
        """Say whether every promise was kept."""
        return not (self.failure or self.wrong or self.late)

    @property
    def wrong(self) -> list[str]:
        """Name what was not as it must be."""
        told = [*(each.wrong for each in self.deaths), *(each.wrong for each in self.outages)]
        return [text for wrong in told for text in wrong]

    @property
    def late(self) -> list[str]:
        """Name servers that were up too late."""
        return [
            f"servers of {each.host} ({each.kind}) were up {each.longer_s:.1f} s later than by their boots alone: "
            f"{each.limit_s:g} s are allowed"
            for each in self.deaths
            if not each.in_time
        ]


@dataclass(frozen=True)
class Campaign:
    """Kinds of deaths, each so many times, and an outage of so many seconds (0: none), on clouds that are made for it.

    Each kind is for a cloud whose hosts are guarded as it says.
    """

    kinds: Iterable[Kind]
    rounds: int
    outage_s: float
    teller: Teller

    def run(self, report: Report, cloud: LabCloud) -> None:
        """Go through what is for such a cloud as this, which is brought up. What is not as it must be ends it."""
        try:
            with ready(cloud, self.teller) as (servers, lives):
                deaths = Deaths(cloud, servers, lives, self.teller)
                for kind in [each for each in self.kinds if each.guarding is Guarding.of(cloud.plan)]:
                    for nth in range(self.rounds):
                        host = cloud.plan.names[nth % len(cloud.plan.names)]
                        report.deaths.append(deaths.one(kind, host))
                        if report.wrong:
                            return
                if self.outage_s:
                    report.outages.append(outage(cloud, servers, lives, self.teller, self.outage_s))
        except CloudError as error:
            report.failure = str(error)


@contextmanager
def ready(cloud: LabCloud, teller: Teller, host: str = "") -> Iterator[tuple[Servers, Lives]]:
    """Have the cloud up, with power that a BMC switches unless its hosts are armed, and its servers, looked at.

    The servers are on the host that is named, or where they happen to come.
    """
    cloud.up(teller)
    if not cloud.plan.armed:
        cloud.wire_power(teller)
    servers, lives = Servers(cloud), Lives(cloud.home, cloud.plan.names)
    lives.start()
    try:
        with teller.stage("making servers") as stage:
            servers.make(host)
            stage.done(f"{len(servers.ids)} servers are up")
        yield servers, lives
    finally:
        lives.stop()


def deaths_table(deaths: Iterable[Death]) -> Table:
    """Return a row for each kind of death: medians, and the worst in brackets."""
    table = Table(
        "A host with 5 servers", "Times", "The boots alone", "All begun after", "All up", "Longer by", "Allowed",
        "Detected", "Proven", "Planned", "Commanded", "ACTIVE", "Least gap between QEMUs", "",
    )  # fmt: skip
    by_kind: dict[str, list[Death]] = {}
    for death in deaths:
        by_kind.setdefault(death.kind, []).append(death)
    for name, its in by_kind.items():
        stages = {stage: [each.stages.get(stage, 0.0) for each in its] for stage in its[0].stages}
        table.add_row(
            f"{KINDS[name].guarding}: {KINDS[name].how}",
            str(len(its)),
            *(_figure([getattr(each, field) for each in its]) for field in ("boots_s", "begun_s", "up_s", "longer_s")),
            f"{KINDS[name].limit_s:g} s",
            *(_figure(values) for values in stages.values()),
            f"{min(each.gap_s for each in its):.1f} s",
            "kept" if all(each.in_time and not each.wrong for each in its) else "BROKEN",
        )
    return table


def outages_table(outages: Iterable[Outage]) -> Table:
    table = Table(
        "Hosts", "Nothing controls them for", "Guests stopped", "Longest standstill", "Shortest", "On again after", ""
    )
    for each in outages:
        table.add_row(
            each.guarding,
            f"{each.lasted_s:.0f} s",
            str(each.stopped),
            f"{each.longest_still_s:.1f} s",
            f"{each.shortest_still_s:.1f} s",
            f"{each.again_s:.1f} s",
            "BROKEN" if each.wrong else "kept",
        )
    return table


def _figure(values: list[float]) -> str:
    return f"{median(values):.1f} s ({max(values):.1f})"
