"""What changing servers costs: create, reboot and rebuild, a hundred at a time, to their very end."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.client import Answer, Request
from bench.cloud import CONTROLLER, HOSTS
from bench.figures import Figure, percentile
from bench.meter import Spent
from bench.subject import Subject

ROUNDS = 5
COUNT = 100


@dataclass
class Rounds:
    """What the rounds of one measure came to."""

    measure: str
    count: int
    accept_s: list[float] = field(default_factory=list)  # until the last request was answered
    spent: list[Spent] = field(default_factory=list)  # until the last server was done
    waits: list[Sequence[float]] = field(default_factory=list)  # ms, of each request

    def note(self, accept_s: float, spent: Spent, answers: Sequence[Answer]) -> None:
        self.accept_s.append(accept_s)
        self.spent.append(spent)
        self.waits.append([1000 * answer.seconds for answer in answers])

    def figures(self, most_cpu_ms: float | None = None, most_wall_s: float | None = None) -> list[Figure]:
        """Return CPU and time; without the processes there is no CPU."""
        whole = {name: self._cpu(name) for name in (CONTROLLER, HOSTS)}
        figures = []
        if any(spent.cpu for spent in self.spent):
            together = tuple(map(sum, zip(*whole.values(), strict=True)))
            figures = [
                self._figure("CPU each, controller and hosts", "ms", together, most_cpu_ms),
                *(self._figure(f"CPU each, {name}", "ms", samples) for name, samples in whole.items()),
            ]
        rates = tuple(self.count / seconds for seconds in self.accept_s)
        return [
            *figures,
            self._figure("accepted", "/s", rates),
            self._figure("accept, p50", "ms", tuple(percentile(each, 0.5) for each in self.waits)),
            self._figure("accept, p99", "ms", tuple(percentile(each, 0.99) for each in self.waits)),
            self._figure(f"all {self.count} done", "s", tuple(spent.wall for spent in self.spent), most_wall_s),
        ]

    def _cpu(self, process: str) -> tuple[float, ...]:
        return tuple(1000 * spent.cpu.get(process, 0.0) / self.count for spent in self.spent)

    def _figure(self, what: str, unit: str, samples: tuple[float, ...], most: float | None = None) -> Figure:
        return Figure(measure=self.measure, what=what, unit=unit, samples=samples, most=most)


async def one_round(subject: Subject, rounds: Rounds, requests: Sequence[Request], status: str) -> None:
    """Ask all of it, wait until no server has the status any more, and note what was spent until then."""
    with subject.meter.spent() as spent:
        with subject.meter.spent() as accepting:
            answers = await subject.tenant.ask_all(requests)
        await subject.tenant.settled(status)
    await subject.tenant.demand_active()
    rounds.note(accepting.wall, spent, answers)


async def create(subject: Subject) -> list[Figure]:
    """POST /servers, a hundred, until all are ACTIVE."""
    tenant, rounds = subject.tenant, Rounds("create", COUNT)
    await tenant.have(0)
    await tenant.end(await tenant.begin(COUNT))  # the image and the network are known to all hosts afterwards
    for _ in range(ROUNDS):
        await one_round(subject, rounds, [tenant.create(f"bench-{number}") for number in range(COUNT)], "BUILD")
        await tenant.have(0)
    return rounds.figures(most_cpu_ms=10.0)


async def reboot(subject: Subject) -> list[Figure]:
    """POST reboot (soft), a hundred, until all are ACTIVE again."""
    return await _act(subject, Rounds("reboot", COUNT), "reboot", {"type": "SOFT"}, "REBOOT")


async def rebuild(subject: Subject) -> list[Figure]:
    """POST rebuild, a hundred, until all are ACTIVE again."""
    image = {"imageRef": subject.tenant.image}
    return await _act(subject, Rounds("rebuild", COUNT), "rebuild", image, "REBUILD")


async def _act(subject: Subject, rounds: Rounds, action: str, value: object, status: str) -> list[Figure]:
    tenant = subject.tenant
    servers = await tenant.have(rounds.count)
    requests = [tenant.act(server, action, value) for server in servers]
    await one_round(subject, Rounds("warm-up", rounds.count), requests, status)
    for _ in range(ROUNDS):
        await one_round(subject, rounds, requests, status)
    return rounds.figures()
