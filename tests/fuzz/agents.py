"""A run of lies over the agents' wire: episodes of lying hosts and of lying controllers, side by side."""

import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from renova.wire.frames import FromAgent, FromController
from tests.fuzz import lying_controller, lying_host
from tests.fuzz.lying_host import Played
from tests.fuzz.wire_values import Known, Messages, kinds_never

HOST, STALE, ANYTHING = "host", "stale", "anything"
# The part of each in a run, and the messages of an episode: a whole cloud takes longer to make than one host.
PARTS = {HOST: (0.3, 250), STALE: (0.35, 500), ANYTHING: (0.35, 500)}
ENOUGH = 2_000  # messages, in which every kind is said


@dataclass
class Run:
    """What a run found."""

    played: dict[str, Played] = field(default_factory=lambda: {what: Played() for what in PARTS})
    faults: list[str] = field(default_factory=list)
    episodes: int = 0
    took_s: float = 0.0

    @property
    def messages(self) -> int:
        return sum(played.messages for played in self.played.values())

    @property
    def malformed(self) -> int:
        return sum(played.malformed for played in self.played.values())


def run(seed: int, messages: int, jobs: int) -> Run:
    """Have so many messages said, at least."""
    began, found = time.monotonic(), Run()
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for what, name, played in pool.imap_unordered(play, _episodes(seed, messages)):
            found.episodes += 1
            found.played[what].add(played)
            found.faults += [f"{fault}\n  script/fuzz --episode {name}" for fault in played.faults]
    if found.messages >= ENOUGH:
        for union, parts in ((FromAgent, (HOST,)), (FromController, (STALE, ANYTHING))):
            sent: dict[str, int] = {}
            for part in parts:
                for kind, count in found.played[part].sent.items():
                    sent[kind] = sent.get(kind, 0) + count
            kinds = Messages(union, Random(), Known()).kinds
            found.faults += [f"never said: {kind}" for kind in kinds_never(kinds, sent)]
    found.took_s = time.monotonic() - began
    return found


def play(name: str) -> tuple[str, str, Played]:
    """Tell the episode of this name: what it is, the seed, its number."""
    what, seed, number = name.split(":")
    random, messages = Random(f"{seed}:{number}"), PARTS[what][1]
    if what == HOST:
        return what, name, lying_host.play(random, messages)
    return what, name, lying_controller.play(random, messages, anything=what == ANYTHING)


def _episodes(seed: int, messages: int) -> Iterator[str]:
    for what, (part, each) in PARTS.items():
        for number in range(max(1, round(part * messages / each))):
            yield f"{what}:{seed}:{number}"


def text(found: Run) -> str:
    """Say what a run found."""
    lines = [
        f"{found.messages} messages in {found.episodes} episodes, {found.malformed} of them malformed, "
        f"{found.took_s:.0f} s"
    ]
    for what, played in found.played.items():
        sent = ", ".join(f"{kind} {count}" for kind, count in sorted(played.sent.items()))
        lines.append(f"{what}: {sent}")
    lines.append(f"holds that a lying host began, each naming it: {found.played[HOST].holds}")
    return "\n".join([*lines, *found.faults[:20], f"{len(found.faults)} faults"])
