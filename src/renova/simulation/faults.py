"""Everything that can go wrong: each kind of fault by its name, where it can strike, and what it does till mended.

`Injector` draws kinds, targets and times from the seed. A fault counts when it fired: when somebody was killed, a frame
lost, a commit unheard. One that had nothing to strike does not count. No target suffers two faults at a time, so that
each can mend what it did; faults of different targets overlap as they come. All kinds are in `fault_kinds`.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from renova.model.chance import Chance
from renova.simulation.processes import outside
from renova.simulation.world import World

FAULTS = "faults"  # the chance by which most kinds are drawn
RESTART_S = (0.2, 8.0)  # how long a service manager, or a person, takes to start something anew


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    `targets` says where it can strike now; nowhere when its precondition does not hold. `strike` does the harm, waits
    and repairs it; it calls `Striking.fired` whenever somebody was harmed.
    """

    name: str
    targets: Callable[[World], Sequence[str]]
    strike: Callable[["Striking"], Awaitable[None]]
    weight: float = 1.0  # how often it is drawn, compared with others
    drawn_by: str = FAULTS  # the chance; what another has drawn changes nothing about what follows from it


@dataclass
class Striking:
    """One fault as it strikes."""

    world: World
    kind: Kind
    target: str
    chance: Chance
    counts: Counter[str]
    pace: float = 1.0

    def fired(self, what: str = "") -> None:
        """Count the fault: it did harm."""
        self.counts[self.kind.name] += 1
        self.world.tell(f"{self.kind.name}: {self.target}{what and ', ' + what}")

    def mended(self) -> None:
        self.world.tell(f"mended: {self.kind.name}: {self.target}")

    async def wait(self, low: float, high: float) -> None:
        """Wait for some time between, in true seconds at a pace of one."""
        await asyncio.sleep(self.pace * self.chance.uniform(low, high))

    async def wait_either(self, brief: tuple[float, float], long: tuple[float, float], *, briefly: float = 0.5) -> None:
        """Wait for a time between the first two, in that share of cases, or between the others."""
        await self.wait(*(brief if self.often(briefly) else long))

    def often(self, share: float) -> bool:
        return self.chance.uniform(0, 1) < share


@dataclass
class Injector:
    """Strikes the world with faults of `kinds`, about `rate` a second, until told to stop."""

    world: World
    kinds: Sequence[Kind]
    rate: float = 1.0
    pace: float = 1.0  # what a fault lasts is multiplied by this
    fired: Counter[str] = field(default_factory=Counter)  # how often each kind did

    def __post_init__(self) -> None:
        self.chances = {
            name: self.world.chance_of(name) for name in dict.fromkeys(kind.drawn_by for kind in self.kinds)
        }
        self._suffering: set[str] = set()
        self._strikes: set[asyncio.Task[None]] = set()
        self._stumbled: list[Exception] = []

    async def run(self) -> None:
        """Have faults strike until cancelled."""
        drawing = [self._run(name, chance) for name, chance in self.chances.items()]
        await asyncio.gather(*drawing)

    async def _run(self, name: str, chance: Chance) -> None:
        """Have the kinds strike that this chance draws, each as often as its weight says, compared with the usual."""
        kinds = [kind for kind in self.kinds if kind.drawn_by == name]
        usual = sum(kind.weight for kind in self.kinds if kind.drawn_by == FAULTS)
        weight = sum(kind.weight for kind in kinds)
        rate = self.rate * weight / usual if usual else self.rate
        while True:
            # Sums of such pauses have the evenness of chance: twice the mean at most, and never none.
            await asyncio.sleep(chance.uniform(0, 2 / rate))
            self.strike(_draw(kinds, chance))

    async def mend(self) -> None:
        """Return when all that struck is mended; raises what a fault itself stumbled over."""
        while self._strikes:
            await asyncio.wait(self._strikes)
        if self._stumbled:
            raise self._stumbled[0]

    @property
    def events(self) -> int:
        """How many faults fired."""
        return sum(self.fired.values())

    @property
    def missing(self) -> list[str]:
        """Name the kinds that never fired."""
        return [kind.name for kind in self.kinds if not self.fired[kind.name]]

    def strike(self, kind: Kind) -> "asyncio.Task[None] | None":
        """Have a fault of the kind strike somewhere; None where it cannot."""
        targets = [target for target in kind.targets(self.world) if target not in self._suffering]
        if not targets:
            return None
        chance = self.chances[kind.drawn_by]
        target = targets[int(chance.uniform(0, len(targets)))]
        striking = Striking(self.world, kind, target, chance, self.fired, self.pace)
        task = asyncio.get_running_loop().create_task(self._suffer(striking), name=kind.name, context=outside())
        self._suffering.add(target)
        self._strikes.add(task)
        task.add_done_callback(self._strikes.discard)
        return task

    async def _suffer(self, striking: Striking) -> None:
        try:
            await striking.kind.strike(striking)
        except Exception as error:  # noqa: BLE001  (told at the end: a world that is not mended proves nothing)
            self._stumbled.append(error)
        finally:
            self._suffering.discard(striking.target)


def _draw(kinds: Sequence[Kind], chance: Chance) -> Kind:
    left = chance.uniform(0, sum(kind.weight for kind in kinds))
    for kind in kinds:
        left -= kind.weight
        if left <= 0:
            return kind
    return kinds[-1]
