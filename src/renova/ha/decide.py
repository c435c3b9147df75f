"""What a host's silence means: arithmetic on what was observed. Asks nobody, changes nothing."""

from enum import StrEnum

import msgspec

from renova.model.host import GuardClass, HostState, ProofKind


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What a controller knows of a host's life."""

    state: HostState
    forced_down: bool
    silent_s: float  # observed here, on the monotonic clock
    suspect_after_s: float
    lapsed_after_s: float  # ttl + margin of its lease
    accepted: tuple[str, ...] = ("power_off", "lease_revoked", "operator")  # the kinds of proof that count
    guard: GuardClass = GuardClass.NONE  # what stops its guests when its lease ends, as it said last
    weak_guard_counts: bool = False
    virtual_guard_counts: bool = False
    heartbeat_age_s: float = 60.0
    power_barred: bool = False  # its power was once read wrongly
    fences: bool = False  # it may be switched off to prove it dead
    fence_after_s: float = 20.0  # how long it must have been silent for that
    seen_alive: bool = False  # by others, of late
    fences_isolated: bool = False  # whoever is seen alive is switched off, too
    witnessed: bool = False  # its guard may go on beyond the end of its lease, by what the witness shows
    revoked: bool = False  # its lease is, and the witness is to show that
    may_be_cut_off: bool = True  # it runs guests, and the cluster is not on hold: that waits for proofs of death
    cut_off: bool = False  # it is, and servers that write only volumes have left, or may: all else needs more
    shown_s: float | None = None  # for how long the witness has shown that, as seen here; None: it does not
    lease_proves: bool = True  # its end does, by what is known of database and witness
    braked: bool = False  # too many hosts are silent: until somebody has looked, only words count


class Next(StrEnum):
    """What to do about it."""

    NOTHING = "nothing"
    READ_POWER = "read power"  # two readings of off would prove it dead
    SWITCH_OFF = "switch off"  # and read its power then
    TAKE_WORD = "take the operator's word"  # forced down, and its lease has lapsed
    REVOKE = "revoke its lease"  # which has lapsed, and have the witness show that to its guard
    TAKE_LAPSE = "take the end of its lease"  # its guard has stopped the guests
    CUT_OFF = "let storage cut it off"  # by the end of its lease, for servers that write only what storage cuts off
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
    by_lease = what_its_lease_proves(host)
    if by_lease and host.revoked and host.shown_s is not None and host.shown_s >= host.lapsed_after_s:
        return by_lease  # the brake let it be revoked
    if host.braked:
        return Next.NOTHING
    if by_lease and lapsed and not host.witnessed:
        return by_lease
    if by_lease and lapsed and not host.revoked:
        return Next.REVOKE
    aged = lapsed and host.silent_s >= host.heartbeat_age_s and not host.seen_alive
    if ProofKind.HEARTBEAT_AGE in host.accepted and aged:
        return Next.TAKE_AGE
    if ProofKind.POWER_OFF not in host.accepted or host.power_barred:
        return Next.NOTHING
    if host.fences and host.silent_s >= host.fence_after_s and not is_spared(host):
        return Next.SWITCH_OFF
    return Next.READ_POWER


def what_its_lease_proves(host: Watched) -> Next | None:
    """Say what may be taken from the end of the host's lease, once its guard must have seen it; None: nothing.

    Where its guard is too weak to prove the host dead, storage stands in for it: a guest that wakes with its host can
    write nothing that was cut off (protocol, section 7). Without a guard that counts its guests run on, and may be
    seen: that is taken only where somebody chose it.
    """
    if not host.lease_proves:
        return None
    if ProofKind.LEASE_REVOKED in host.accepted and guard_counts(host):
        return Next.TAKE_LAPSE
    weak = host.guard in (GuardClass.B, GuardClass.C) and ProofKind.LEASE_REVOKED in host.accepted
    chosen = ProofKind.STORAGE_CUT in host.accepted and (not host.seen_alive or host.fences_isolated)
    return Next.CUT_OFF if (weak or chosen) and host.may_be_cut_off and not host.cut_off else None


def is_spared(host: Watched) -> bool:
    """Say whether the host is isolated, so that cutting its power would end guests that may be well.

    Where a guard is armed nothing is lost by it: the guests have been stopped when the lease ended, unless it goes by a
    witness.
    """
    runs_on = host.guard is GuardClass.NONE or host.witnessed
    return host.seen_alive and runs_on and not host.fences_isolated


def guard_counts(host: Watched) -> bool:
    """Say whether the host's guard is one whose lapsed lease proves that its guests have stopped (protocol, section 7).

    B and C are not strong enough where the whole host can stand still and go on: its guests run then, for some ms,
    before the guard does. V counts clocks that others can stop, and without a guard nothing stops anything.
    """
    match host.guard:
        case GuardClass.A:
            return True
        case GuardClass.B | GuardClass.C:
            return host.weak_guard_counts
        case GuardClass.V:
            return host.virtual_guard_counts
        case GuardClass.NONE:
            return False
