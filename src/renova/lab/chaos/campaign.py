"""A campaign: a cloud comes up, is used and hurt for some minutes, is mended, comes to rest and is looked over."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from renova.lab import processes
from renova.lab.chaos.client import Away, Client
from renova.lab.chaos.faults import DATABASE, Faults, Kinds, Struck
from renova.lab.chaos.invariants import Outcome, outcome
from renova.lab.chaos.users import Book, Operator, User, supplies
from renova.lab.chaos.watch import DoubleRun, Probes, Runs
from renova.lab.cloud import LabCloud
from renova.lab.guest_processes import first_pids
from renova.lab.progress import Teller
from renova.model.errors import NotNow

LONG_MINUTES = 10.0  # from here on each kind of fault must have fired
TAKE_OVER_S = 1.0  # the goal for answers after one of several controllers was killed
_USERS = 3
_CALM_S = 300.0
_OUTAGES_TOLD = 5
_CALM_PAUSE_S = 3.0
_AFTER_KILL_S = 6.0


class Outage(msgspec.Struct, frozen=True):
    """A time in which the API did not answer, and what was wrong meanwhile."""

    after_s: float  # since the campaign began
    lasted_s: float
    faults: list[str]


class Report(msgspec.Struct, frozen=True):
    """What a campaign did and found. `lost`, `double_runs` and `violations` are to be empty."""

    seed: int
    minutes: float
    faults: dict[str, int]
    done: dict[str, int]
    failed: dict[str, int]  # ended in a final, true state all the same
    refused: dict[str, dict[str, int]]
    unanswered: dict[str, int]
    lost: list[str]
    double_runs: list[DoubleRun]
    violations: list[str]
    looks: int  # for double runs
    most_running: int
    probes: int
    longest_unavailable_s: float
    outages: list["Outage"]  # the longest ones
    controller_kills: int  # those during which nothing else kept the API from answering
    longest_after_controller_kill_s: float
    calm_after_s: float
    looked_at: dict[str, int]  # in the end, in libvirt, on disks and in the database

    @property
    def kept(self) -> bool:
        """Say whether every promise was kept."""
        return not (self.lost or self.double_runs or self.violations)


@dataclass
class Campaign:
    """One campaign on a cloud of real hosts and several controllers, which is brought up first and stays up."""

    cloud: LabCloud
    teller: Teller
    minutes: float
    seed: int

    def run(self) -> Report:
        self.cloud.up(self.teller)
        began = time.monotonic()
        faults = Faults(
            Kinds(self.cloud).pack, self.seed, lambda text: self.teller.line(f"{time.monotonic() - began:6.1f}  {text}")
        )
        book = Book()
        client = self._client()
        probes = Probes(self._client(timeout=10.0))
        runs = Runs(lambda: first_pids(self.cloud.home, self.cloud.plan.names))
        ending = threading.Event()
        people = [
            *(User(number, client, book, ending, supplies(client), self.seed) for number in range(1, _USERS + 1)),
            Operator(client, book, ending),
        ]
        runs.start()
        probes.start()
        for person in people:
            person.start()
        faults.start()
        try:
            ending.wait(self.minutes * 60)
        finally:
            faults.stop()
            stopped = time.monotonic()
            ending.set()
            for person in people:
                person.join()
        died = self._died()
        self.cloud.up(self.teller)
        mended = time.monotonic()
        with self.teller.stage("waiting for calm") as stage:
            found = self._calm(client, book, stage.doing)
        calm_after = time.monotonic() - mended
        probes.stop()
        runs.stop()
        for each in (client, probes.client):
            each.close()
        kills = _kills(faults.struck)
        violations = [*found.violations, *book.wrong, *faults.unrepaired, *died]
        if self.minutes >= LONG_MINUTES:
            violations += [f"the fault «{kind}» never fired" for kind, count in faults.fired.items() if not count]
        return Report(
            seed=self.seed,
            minutes=self.minutes,
            faults=faults.fired,
            done=dict(found.done),
            failed=dict(found.failed),
            refused={kind: dict(counts) for kind, counts in book.refused.items()},
            unanswered=dict(book.unanswered),
            lost=found.lost,
            double_runs=runs.doubles,
            violations=violations,
            looks=runs.looks,
            most_running=runs.most,
            probes=probes.asked,
            longest_unavailable_s=round(probes.longest(began, stopped), 2),
            outages=_outages(probes.silences(began, stopped), faults.struck, began),
            controller_kills=len(kills),
            longest_after_controller_kill_s=round(
                max((probes.longest(kill, kill + _AFTER_KILL_S) for kill in kills), default=0.0), 2
            ),
            calm_after_s=round(calm_after, 1),
            looked_at=found.looked_at,
        )

    def _client(self, timeout: float = 30.0) -> Client:
        return Client(self.cloud.home, self.cloud.plan.api_url, timeout)

    def _died(self) -> list[str]:
        """Name what does not run though every fault was repaired: it ended by itself."""
        status = [process for process in self.cloud.status().processes if not process.running]
        return [f"{process.name} ended by itself: {self._last_words(process.name)}" for process in status]

    def _last_words(self, name: str) -> str:
        return processes.last_lines(self.cloud.home.log_file(name), 3)

    def _calm(self, client: Client, book: Book, doing: Callable[[str], None]) -> Outcome:
        """Wait until all is as it must be, or cannot be waited for any longer."""
        deadline = time.monotonic() + _CALM_S
        while True:
            found, away = None, ""
            try:
                found = outcome(self.cloud, client, book)
            except (Away, NotNow) as error:
                away = str(error)
            if found is not None and not (found.lost or found.violations):
                return found
            if time.monotonic() > deadline:
                return found or Outcome(Counter(), Counter(), [], [f"what is cannot be asked: {away}"], {})
            doing(away if found is None else "; ".join([*found.lost, *found.violations][:2]))
            time.sleep(_CALM_PAUSE_S)


def _outages(silences: list[tuple[float, float]], struck: list[Struck], began: float) -> list[Outage]:
    return [
        Outage(
            round(since - began, 1),
            round(until - since, 2),
            [each.told(began) for each in struck if each.began < until and each.ended > since],
        )
        for since, until in sorted(silences, key=lambda each: each[0] - each[1])[:_OUTAGES_TOLD]
    ]


def _kills(struck: list[Struck]) -> list[float]:
    """Return when one controller was killed while all else that the API needs was well for long enough."""
    troubles = [each for each in struck if each.parts[0] == DATABASE or each.parts[0].startswith("controller")]
    return [
        kill.began
        for kill in troubles
        if kill.kind == "controller killed"
        and not any(
            other is not kill and other.began < kill.began + _AFTER_KILL_S and other.ended + _AFTER_KILL_S > kill.began
            for other in troubles
        )
    ]


def told(report: Report) -> str:
    """Return the report for people."""
    lines = [f"{report.minutes:g} minutes of chaos, seed {report.seed}", "", "faults that fired:"]
    lines += [f"  {count:5}  {kind}" for kind, count in report.faults.items()]
    lines += [f"  {sum(report.faults.values()):5}  in all"]
    lines += ["", "operations:                done  ended otherwise  refused  unanswered"]
    kinds = sorted({*report.done, *report.failed, *report.refused, *report.unanswered})
    for kind in kinds:
        refused = sum(report.refused.get(kind, {}).values())
        done, failed = report.done.get(kind, 0), report.failed.get(kind, 0)
        lines.append(f"  {kind:<20} {done:8} {failed:16} {refused:8} {report.unanswered.get(kind, 0):11}")
    lines.append(f"  {'in all':<20} {sum(report.done.values()):8} {sum(report.failed.values()):16}")
    lines += [
        "",
        f"lost: {len(report.lost)}",
        f"double runs: {len(report.double_runs)}, in {report.looks} looks at up to {report.most_running} guests",
        f"longest unavailability of the API: {report.longest_unavailable_s} s, in {report.probes} probes",
        *(f"  {each.lasted_s} s after {each.after_s} s: {'; '.join(each.faults)}" for each in report.outages),
        f"  after one of the controllers was killed ({report.controller_kills} times, nothing else being wrong): "
        f"{report.longest_after_controller_kill_s} s (goal: {TAKE_OVER_S:g} s)",
        f"calm {report.calm_after_s} s after it was mended",
        "compared in the end, by libvirt, disks and database: "
        + ", ".join(f"{count} {what}" for what, count in report.looked_at.items()),
    ]
    if report.lost or report.double_runs or report.violations:
        lines += ["", "BROKEN PROMISES:"]
        doubles = [f"{each.server} ran on {each.hosts} after {each.after_s} s" for each in report.double_runs]
        lines += [f"  {each}" for each in (*report.lost, *doubles, *report.violations)]
    return "\n".join(lines) + "\n"
