"""Bugs planted in the product, to see that the simulation finds them: those of the safety protocol and some of our own.

Each is a mutation of one place, a mix of faults that may bring it to light, and the invariants that may catch it.
These are the general ones of `simulation.invariants` and `simulation.calm`, made for no bug in particular. A module
holds the bugs of one part of the product; a new one is found here by itself.

    python -m tests.simulation.planted [NUMBER...]    prints how many seeds each needs
"""

from collections.abc import Iterator
from typing import TypeVar

from tests.simulation.planted import (
    engine,
    guard,
    hangs,
    moves,
    notices,
    orders,
    recovery,
    renewals,
    returns,
    room,
    silence,
    volumes,
    witness,
)
from tests.simulation.planted.bugs import Bug, BugInStory

PARTS = (renewals, silence, guard, witness, moves, orders, returns, recovery, hangs, engine, room, volumes, notices)

B = TypeVar("B", Bug, BugInStory)


def _planted(kind: type[B]) -> Iterator[B]:
    for part in PARTS:
        yield from (each for each in vars(part).values() if isinstance(each, kind))


def _by_number(kind: type[B]) -> dict[str, B]:
    """Return the bugs of this kind, those of the protocol first."""
    found = sorted(_planted(kind), key=lambda each: (not each.number.isdecimal(), each.number.zfill(2)))
    numbered = {each.number: each for each in found}
    if len(numbered) < len(found):
        raise ValueError(f"two planted bugs have one number: {[each.number for each in found]}")
    return numbered


BUGS = _by_number(Bug)
IN_STORIES = _by_number(BugInStory)

# What waits for the parts that it belongs to.
LATER = {
    "30": "image locks are QEMU's: tests/live/test_moving.py looks at the real ones",
    "31": "one reading more or less shows only with a power controller that says off during a reset, at a proof that "
    "the counter's compare does not stop: fencing switches hosts off itself",
    "35": "an old primary that goes on: tests on the real pair; the simulated server is one",
}

# The seeds that found each the last time it was hunted from the first on, where that one did not.
KNOWN = {
    "7": 2,
    "8": 44,
    "9": 59,
    "11": 2,
    "12": 2,
    "13": 4,
    "18": 14,
    "19": 8,
    "20": 8,
    "22": 2,
    "23": 71,
    "24": 60,
    "26": 2,
    "27": 11,
    "28": 16,
    "29": 5,
    "32": 2,
    "34": 4,
    "37": 11,
    "a": 12,
    "j": 7,
    "l": 5,
    "m": 5,
    "n": 2,
    "x": 3,
}
