"""A run of many episodes, side by side; what it found, and a case of it played again."""

import gc
import json
import multiprocessing
import multiprocessing.util
import os
import resource
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from warnings import catch_warnings

from renova.simulation.loop import run_virtual
from tests import databases
from tests.fuzz.episode import Episode, Fault, Step, Told
from tests.fuzz.shrinking import shrunk
from tests.fuzz.world import STEPS, prepare_process, tape

SHOWN = 10  # faults that are shrunk and shown
GROWTH_KB = 400  # an episode may leave in memory, on average of a run's second half; a leaked cloud is ten times that


@dataclass
class Case:
    """A fault with the steps that lead to it."""

    seed: int
    first: int
    says: str
    steps: list[Step]

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"fuzz-{self.seed}-{self.steps[-1].number}.json"
        steps = [step.as_json() for step in self.steps]
        text = json.dumps({"seed": self.seed, "first": self.first, "says": self.says, "steps": steps}, indent=1)
        file.write_text(text)
        return file

    @staticmethod
    def read(file: Path) -> "Case":
        data = json.loads(file.read_text())
        return Case(data["seed"], data["first"], data["says"], [Step.from_json(each) for each in data["steps"]])


@dataclass
class Run:
    """What a run found."""

    told: Told = field(default_factory=Told)
    cases: list[Case] = field(default_factory=list)
    episodes: int = 0
    took_s: float = 0.0
    growth_kb: float = 0.0

    @property
    def never_hit(self) -> list[str]:
        return sorted(set(self.told.names) - set(self.told.hits))

    @property
    def never_done(self) -> list[str]:
        return sorted(set(self.told.names) - set(self.told.successes))


def play(seed: int, first: int, count: int) -> tuple[Told, list[Step]]:
    """Play one episode, and return what it found and which steps it was made of."""
    tape.taken()
    episode = Episode(seed, first)
    told = ended(episode, episode.play(count))
    return told, episode.steps


def replay(seed: int, first: int, steps: list[Step], *, settle: bool = True) -> Told:
    """Play these steps of an episode again; `settle`: and look at what is left when all is done."""
    tape.taken()
    episode = Episode(seed, first)
    return ended(episode, episode.replay(steps, settle=settle))


def ended(episode: Episode, work: Coroutine[Any, Any, Told]) -> Told:
    """Let the episode's work run to its end, in virtual time; what fails by itself is a fault, too."""
    try:
        told = run_virtual(work)
    except Exception as error:
        told = episode.told
        last = episode.steps[-1] if episode.steps else None
        if last is None:
            raise
        if not told.faults:
            told.faults.append(Fault(last, f"failed: {type(error).__name__}: {error}"))
    finally:
        episode.leave()
        with catch_warnings(action="ignore"):  # what killed agents leave is never awaited, and now collected
            gc.collect()
    return told


def run(seed: int, requests: int, jobs: int, folder: Path, database: str = "sqlite") -> Run:
    """Send so many requests, in episodes side by side, and shrink what they find."""
    began = time.monotonic()
    found = Run()
    firsts = [(seed, first, min(STEPS, requests - first)) for first in range(0, requests, STEPS)]
    sizes = []
    seen: set[tuple[str, str]] = set()
    for (_, first, _), (told, steps, size) in zip(firsts, _side_by_side(firsts, jobs, database), strict=True):
        found.told.add(told)
        found.episodes += 1
        sizes.append(size)
        for fault in told.faults:
            sign = (fault.kind, fault.step.target)
            if sign not in seen and len(found.cases) < SHOWN:
                seen.add(sign)
                case = small(Case(seed, first, fault.says, steps), fault.kind, late=fault.late)
                case.write(folder)
                found.cases.append(case)
                _say(f"{case.says[:600]}\n  {case.steps[-1].request.as_curl()[:800]}")
        if found.episodes % 20 == 0:
            _say(f"{found.told.requests} requests, {len(found.told.faults)} faults, {time.monotonic() - began:.0f} s")
    found.took_s = time.monotonic() - began
    found.growth_kb = _growth(sizes)
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def small(case: Case, kind: str, *, late: bool = False) -> Case:
    """Return the case with as little in it as is needed; `late`: it is seen only when all is done."""
    says = [case.says]

    def fails(steps: list[Step]) -> bool:
        for fault in replay(case.seed, case.first, steps, settle=late).faults:
            if fault.kind == kind and fault.step.number == steps[-1].number:
                says[0] = fault.says
                return True
        return False

    if not fails(case.steps):
        return case  # nothing that steps alone make happen: as it was
    steps = shrunk(case.steps, fails)
    fails(steps)
    return Case(case.seed, case.first, says[0], steps)


def _side_by_side(
    firsts: list[tuple[int, int, int]], jobs: int, database: str
) -> Iterator[tuple[Told, list[Step], int]]:
    prepare(database)  # also where others play: cases are shrunk here
    if jobs <= 1:
        for each in firsts:
            yield _one(each)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, prepare, (database,)) as pool:
        yield from pool.imap(_one, firsts)


def _one(which: tuple[int, int, int]) -> tuple[Told, list[Step], int]:
    told, steps = play(*which)
    return told, steps if told.faults else [], _kilobytes()


def prepare(database: str = "sqlite") -> None:
    """Make this process ready for episodes, for as long as it runs; `postgresql` has a server begin for it."""
    stack = ExitStack()
    stack.enter_context(prepare_process())
    if database == "postgresql":
        stack.enter_context(on_postgresql())
    multiprocessing.util.Finalize(None, stack.close, exitpriority=10)


@contextmanager
def on_postgresql() -> Iterator[None]:
    """Have all databases be on a PostgreSQL server of this process."""
    from renova.lab.ports import free_ports
    from renova.lab.postgresql import CARELESS, PostgreSQL

    with TemporaryDirectory(prefix="renova-fuzz-") as place:
        here = Path(place)
        [port] = free_ports(1)
        server = PostgreSQL(here / "server", port, here / "server.pid", here / "server.log", CARELESS)
        try:
            server.make()
            server.start()
            with databases.on(server):
                yield
        finally:
            server.kill()


def _kilobytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") // 1024 if pages else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _growth(sizes: list[int]) -> float:
    """Return by how much an episode has grown its process, on average, once everything was there that stays."""
    half = len(sizes) // 2
    if half < 20:
        return 0.0
    quarter = half // 2
    earlier = sum(sizes[half : half + quarter]) / quarter
    later = sum(sizes[-quarter:]) / quarter
    return (later - earlier) / quarter
