"""What a host's silence means: arithmetic on what was observed. Asks nobody, changes nothing."""

from enum import StrEnum

import msgspec

from renova.model.host import HostState, ProofKind


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What a controller knows of a host's life."""

    state: HostState
    forced_down: bool
    silent_s: float  # observed here, on the monotonic clock
    suspect_after_s: float
    lapsed_after_s: float  # ttl + margin of its lease
    accepted: tuple[str, ...] = ("power_off", "operator")  # the kinds of proof that count
    heartbeat_age_s: float = 60.0
    power_barred: bool = False  # its power was once read wrongly


class Next(StrEnum):
    """What to do about it."""

    NOTHING = "nothing"
    READ_POWER = "read power"  # two readings of off would prove it dead
    TAKE_WORD = "take the operator's word"  # forced down, and its lease has lapsed
    TAKE_AGE = "take its silence"  # Nova's rule, where somebody chose it


def decide(host: Watched) -> Next:
    """Say what to do about a host.

    An operator's word about a host that may still renew is not enough: until its lease has lapsed the host may be
    alive and only cut off from us (safety protocol, "operator's word").
    """
    if host.state in (HostState.DEAD, HostState.ENROLLED) or host.silent_s < host.suspect_after_s:
        return Next.NOTHING
    lapsed = host.silent_s >= host.lapsed_after_s
    if host.forced_down and lapsed and ProofKind.OPERATOR in host.accepted:
        return Next.TAKE_WORD
    if ProofKind.HEARTBEAT_AGE in host.accepted and lapsed and host.silent_s >= host.heartbeat_age_s:
        return Next.TAKE_AGE
    if ProofKind.POWER_OFF in host.accepted and not host.power_barred:
        return Next.READ_POWER
    return Next.NOTHING
