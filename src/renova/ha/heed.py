"""What an alarm about a host comes to: arithmetic on what is known of the host. Asks nobody, changes nothing.

An alarm is evidence and never a proof (docs/safety.md): it has a proof be sought at once, and is followed until
the servers of the host are elsewhere. A host that renews its lease contradicts it.
"""

from enum import StrEnum

import msgspec

from renova.model.alarm import AlarmStatus

PATIENCE_S = 120.0  # without a proof, before it is called an error; it is sought on
GIVE_UP_S = 3600.0  # after which what could not be done is given up


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an alarm's host, and of what was done since."""

    age_s: float  # of the alarm
    heard: bool  # the host renews its lease
    contradicts_after_s: float  # for which a host that had just died would still count as heard
    proven: bool  # there is a proof of its death, of now or of the past
    why_no_proof: str = ""
    left: str = ""  # why its servers are not brought back by themselves; "": they are
    under_way: int = 0  # servers whose turn is still to come, or that are on their way
    failed: int = 0  # servers that could not be brought back, by now
    moved: int = 0  # servers that are up elsewhere


class Heeded(msgspec.Struct, frozen=True):
    """Where the alarm stands, why, and whether a proof is to be sought."""

    status: AlarmStatus
    task: str
    message: str
    seek: bool = False


class Task(StrEnum):
    """What an alarm about a host calls for, one after the other."""

    PROVE = "prove that the host is dead"
    RECOVER = "bring its servers up elsewhere"


def heed(known: Known) -> Heeded:
    """Say where an alarm stands by which a host has died."""
    if known.proven:
        return _after_death(known)
    if known.heard:
        if known.age_s <= known.contradicts_after_s:
            return Heeded(AlarmStatus.RUNNING, Task.PROVE, "the host has been heard until now", seek=True)
        return Heeded(AlarmStatus.IGNORED, Task.PROVE, "the host renews its lease: it is not believed dead")
    if known.age_s > GIVE_UP_S:
        return Heeded(AlarmStatus.FAILED, Task.PROVE, f"given up: nothing has proven it. {known.why_no_proof}")
    status = AlarmStatus.RUNNING if known.age_s <= PATIENCE_S else AlarmStatus.ERROR
    why = f" {known.why_no_proof}" if status is AlarmStatus.ERROR else ""  # which says how many seconds are left
    return Heeded(status, Task.PROVE, f"the host is silent, and nothing proves it dead yet.{why}", seek=True)


def _after_death(known: Known) -> Heeded:
    if known.under_way:
        return Heeded(AlarmStatus.RUNNING, Task.RECOVER, "its servers are being brought up elsewhere")
    if known.left and not (known.failed or known.moved):
        return Heeded(AlarmStatus.FINISHED, Task.RECOVER, f"its servers are left to an operator: {known.left}")
    if known.failed and known.age_s <= GIVE_UP_S:
        return Heeded(AlarmStatus.ERROR, Task.RECOVER, _servers(known.failed, "could not be brought up elsewhere yet"))
    if known.failed:
        return Heeded(AlarmStatus.FAILED, Task.RECOVER, _servers(known.failed, "could not be brought up elsewhere"))
    return Heeded(AlarmStatus.FINISHED, Task.RECOVER, _servers(known.moved, "brought up elsewhere"))


def _servers(count: int, what: str) -> str:
    return f"{count} {'server' if count == 1 else 'servers'} {what}"
