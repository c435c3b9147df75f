"""What class a guard is of: measured facts, and what follows from them. Pure.

The classes and what each proves are the safety protocol's: what stops a host's guests when its guard does not.
"""

from dataclasses import dataclass

from renova.model.host import GuardClass


@dataclass(frozen=True)
class Facts:
    """What was found on the host. Texts say how it is known, for people; "" means that it is not so."""

    virtual: str = ""  # that the host is itself a virtual machine
    sleeps: str = ""  # that it can be put to sleep
    watchdog: str = ""  # the watchdog's name
    software: bool = False  # the kernel counts, and no hardware
    seen_to_reset: bool = False  # the watchdog has reset this host, since it was enrolled
    weak_gate: str = ""  # how guests can come to execute behind a closed gate, though it is watched


@dataclass(frozen=True)
class Strength:
    """A class, and why it is no better one."""

    guard: GuardClass
    reasons: tuple[str, ...]


def strength_of(facts: Facts) -> Strength:
    if facts.virtual:
        # First: whoever stops a virtual machine stops its watchdog, too.
        return Strength(GuardClass.V, (f"this host's clock can be stopped from outside: {facts.virtual}",))
    if not facts.watchdog:
        return Strength(GuardClass.C, ("there is no watchdog: what stops with the whole host goes on with it",))
    if facts.weak_gate:
        return Strength(GuardClass.C, (facts.weak_gate,))
    reasons = []
    if facts.software:
        reasons.append(f"{facts.watchdog} counts in the kernel: it stands still when the whole host does")
    elif not facts.seen_to_reset:
        reasons.append(f"{facts.watchdog} has never been seen to reset this host")
    if facts.sleeps:
        reasons.append(f"this host can be put to sleep: {facts.sleeps}")
    if reasons:
        return Strength(GuardClass.B, tuple(reasons))
    return Strength(GuardClass.A, (f"{facts.watchdog} counts while the CPUs stand, and has reset this host before",))
