"""What reading costs: one server, and lists of them."""

from collections.abc import Callable

from bench.client import Request
from bench.cloud import CONTROLLER
from bench.figures import Figure, percentile
from bench.subject import Subject
from bench.tenant import AT_ONCE

ROUNDS = 7


async def show(subject: Subject) -> list[Figure]:
    """GET /servers/{id}, over all servers in turn."""
    servers = await subject.tenant.have(50)
    turn = iter(range(1 << 60))

    def one() -> Request:
        return subject.tenant.show(servers[next(turn) % len(servers)])

    return [*await _one_by_one(subject, "show", one, 500, 0.5), *await _at_once(subject, "show", one, 1000)]


async def list_50(subject: Subject) -> list[Figure]:
    """GET /servers/detail with 50 servers."""
    await subject.tenant.have(50)
    return await _one_by_one(subject, "list-50", lambda: subject.tenant.listing(50), 60, None)


async def list_1000(subject: Subject) -> list[Figure]:
    """GET /servers/detail with 1,000 servers."""
    await subject.tenant.have(1000)
    return await _one_by_one(subject, "list-1000", lambda: subject.tenant.listing(1000), 12, 40.0)


async def _one_by_one(
    subject: Subject, name: str, request: Callable[[], Request], count: int, most_ms: float | None
) -> list[Figure]:
    """Ask `count` times a round, one after the other; the first round only warms up."""
    cpu, waits, sizes = [], [], []
    for number in range(ROUNDS + 1):
        with subject.meter.spent() as spent:
            answers = await subject.tenant.ask_all((request() for _ in range(count)), at_once=1)
        if number > 0:
            cpu.append(1000 * spent.cpu.get(CONTROLLER, 0.0) / count)
            waits.append([1000 * answer.seconds for answer in answers])
            sizes.append(len(answers[-1].body) / 1000)
    figures = []
    if subject.own is not None:
        figures.append(Figure(measure=name, what="CPU, controller", unit="ms", samples=tuple(cpu), most=most_ms))
    return [
        *figures,
        Figure(measure=name, what="wait, p50", unit="ms", samples=tuple(percentile(each, 0.5) for each in waits)),
        Figure(measure=name, what="wait, p99", unit="ms", samples=tuple(percentile(each, 0.99) for each in waits)),
        Figure(measure=name, what="answer", unit="kB", samples=tuple(sizes)),
    ]


async def _at_once(subject: Subject, name: str, request: Callable[[], Request], count: int) -> list[Figure]:
    """Ask `count` times a round, several at once: now the controller need not be woken for each."""
    cpu, rates = [], []
    for number in range(ROUNDS + 1):
        with subject.meter.spent() as spent:
            await subject.tenant.ask_all((request() for _ in range(count)), AT_ONCE)
        if number > 0:
            cpu.append(1000 * spent.cpu.get(CONTROLLER, 0.0) / count)
            rates.append(count / spent.wall)
    rate = Figure(measure=name, what=f"rate, {AT_ONCE} at once", unit="/s", samples=tuple(rates))
    if subject.own is None:
        return [rate]
    return [Figure(measure=name, what=f"CPU, {AT_ONCE} at once", unit="ms", samples=tuple(cpu)), rate]
