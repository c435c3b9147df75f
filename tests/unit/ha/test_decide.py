"""Nothing is done about a host that is heard, and a word alone is never enough about one that may be."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from renova.ha.decide import Next, Watched, decide
from renova.model.host import GuardClass, HostState, ProofKind

SECONDS = st.floats(0, 1000)
WATCHED = st.builds(
    Watched,
    state=st.sampled_from(HostState),
    forced_down=st.booleans(),
    silent_s=SECONDS,
    suspect_after_s=SECONDS,
    lapsed_after_s=SECONDS,
    power_barred=st.booleans(),
    fences=st.booleans(),
    fence_after_s=SECONDS,
    braked=st.booleans(),
    accepted=st.sampled_from(
        (
            ("power_off", "lease_revoked", "operator"),
            ("power_off", "heartbeat_age"),
            ("power_off", "lease_revoked", "storage_cut"),
        )
    ),
    weak_guard_counts=st.booleans(),
    may_be_cut_off=st.booleans(),
    cut_off=st.booleans(),
    guard=st.sampled_from(GuardClass),
    seen_alive=st.booleans(),
    fences_isolated=st.booleans(),
    witnessed=st.booleans(),
    revoked=st.booleans(),
    shown_s=st.none() | SECONDS,
    lease_proves=st.booleans(),
)


@given(host=WATCHED)
def test_nothing_is_done_about_a_host_heard_in_time(host: Watched) -> None:
    if host.silent_s < host.suspect_after_s:
        assert decide(host) is Next.NOTHING


@given(host=WATCHED)
def test_the_operators_word_is_taken_only_once_the_lease_has_lapsed(host: Watched) -> None:
    if decide(host) is Next.TAKE_WORD:
        assert host.forced_down
        assert host.silent_s >= host.lapsed_after_s


@given(host=WATCHED)
def test_where_the_end_of_a_lease_proves_nothing_all_else_is_done_as_without_a_guard(host: Watched) -> None:
    host = replace(host, lease_proves=False, fences_isolated=True)
    assert decide(host) is decide(replace(host, guard=GuardClass.NONE))


@given(host=WATCHED)
def test_while_braked_only_words_count(host: Watched) -> None:
    if host.braked and not host.revoked:
        assert decide(host) in (Next.NOTHING, Next.TAKE_WORD)


@given(host=WATCHED)
def test_who_is_dead_or_was_never_there_is_left_alone(host: Watched) -> None:
    if host.state in (HostState.DEAD, HostState.ENROLLED):
        assert decide(host) is Next.NOTHING


@pytest.mark.parametrize("state", [HostState.UP, HostState.RETURNING])
@pytest.mark.parametrize(
    ("silent_s", "forced_down", "wanted"),
    [
        (4.9, False, Next.NOTHING),
        (4.9, True, Next.NOTHING),
        (5.0, False, Next.READ_POWER),
        (5.0, True, Next.READ_POWER),
        (31.9, True, Next.READ_POWER),
        (32.0, True, Next.TAKE_WORD),
        (1e9, False, Next.READ_POWER),
    ],
)
def test_what_is_done_after_how_long(state: HostState, silent_s: float, forced_down: bool, wanted: Next) -> None:
    host = Watched(state=state, forced_down=forced_down, silent_s=silent_s, suspect_after_s=5.0, lapsed_after_s=32.0)
    assert decide(host) is wanted


@given(host=WATCHED)
def test_only_a_host_that_was_silent_for_long_is_switched_off_and_never_while_braked(host: Watched) -> None:
    if decide(host) is Next.SWITCH_OFF:
        assert host.fences
        assert host.silent_s >= max(host.suspect_after_s, host.fence_after_s)
        assert not host.braked
        assert not host.power_barred


@pytest.mark.parametrize(
    ("silent_s", "braked", "wanted"),
    [
        (4.9, False, Next.NOTHING),
        (19.9, False, Next.READ_POWER),
        (20.0, False, Next.SWITCH_OFF),
        (1e9, True, Next.NOTHING),
    ],
)
def test_when_a_host_is_switched_off(silent_s: float, braked: bool, wanted: Next) -> None:
    host = Watched(
        state=HostState.UP,
        forced_down=False,
        silent_s=silent_s,
        suspect_after_s=5.0,
        lapsed_after_s=32.0,
        fences=True,
        braked=braked,
    )
    assert decide(host) is wanted


@given(host=WATCHED)
def test_whoever_is_seen_alive_and_not_stopped_by_a_guard_is_not_switched_off_unless_that_is_wanted(
    host: Watched,
) -> None:
    if host.seen_alive and host.guard is GuardClass.NONE and not host.fences_isolated:
        assert decide(host) is not Next.SWITCH_OFF


@given(host=WATCHED)
def test_silence_is_never_taken_for_the_death_of_who_is_seen_alive(host: Watched) -> None:
    if host.seen_alive:
        assert decide(host) is not Next.TAKE_AGE


@given(host=WATCHED)
def test_what_others_see_keeps_no_proof_from_counting(host: Watched) -> None:
    """Nor does what they do not see make one: it is evidence only. Who is seen alive is spared what would harm it."""
    unseen = decide(replace(host, seen_alive=False))
    by_choice = ProofKind.STORAGE_CUT in host.accepted and unseen in (Next.CUT_OFF, Next.REVOKE)
    if unseen not in (Next.SWITCH_OFF, Next.TAKE_AGE) and not by_choice:
        assert decide(replace(host, seen_alive=True)) is unseen


LAPSED = Watched(
    state=HostState.UP,
    forced_down=False,
    silent_s=33.0,
    suspect_after_s=5.0,
    lapsed_after_s=32.0,
    guard=GuardClass.A,
    witnessed=True,
)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"witnessed": False}, Next.TAKE_LAPSE),
        ({}, Next.REVOKE),
        ({"silent_s": 31.0}, Next.READ_POWER),
        ({"revoked": True}, Next.READ_POWER),  # the witness does not show it yet
        ({"revoked": True, "shown_s": 31.9}, Next.READ_POWER),
        ({"revoked": True, "shown_s": 32.0}, Next.TAKE_LAPSE),
        ({"braked": True}, Next.NOTHING),
        ({"revoked": True, "shown_s": 32.0, "braked": True}, Next.TAKE_LAPSE),  # it was admitted before
        ({"revoked": True, "shown_s": 32.0, "guard": GuardClass.NONE}, Next.READ_POWER),
        ({"revoked": True, "shown_s": 32.0, "state": HostState.DEAD}, Next.NOTHING),
    ],
)
def test_the_end_of_a_witnessed_lease_proves_nothing_before_the_witness_has_shown_it_for_long_enough(
    changes: dict[str, Any], wanted: Next
) -> None:
    assert decide(replace(LAPSED, **changes)) is wanted


@given(host=WATCHED)
def test_a_host_that_goes_by_the_witness_is_never_taken_for_dead_by_its_silence_alone(host: Watched) -> None:
    if host.witnessed and decide(host) is Next.TAKE_LAPSE:
        assert host.revoked
        assert host.shown_s is not None
        assert host.shown_s >= host.lapsed_after_s


CHOSEN = ("power_off", "lease_revoked", "operator", "storage_cut")


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, Next.CUT_OFF),
        ({"guard": GuardClass.C}, Next.CUT_OFF),
        ({"guard": GuardClass.A}, Next.TAKE_LAPSE),
        ({"weak_guard_counts": True}, Next.TAKE_LAPSE),
        ({"silent_s": 31.9}, Next.READ_POWER),
        ({"may_be_cut_off": False}, Next.READ_POWER),
        ({"may_be_cut_off": False, "witnessed": True}, Next.READ_POWER),
        ({"may_be_cut_off": False, "guard": GuardClass.A}, Next.TAKE_LAPSE),
        ({"cut_off": True}, Next.READ_POWER),  # all else needs more
        ({"cut_off": True, "weak_guard_counts": True}, Next.TAKE_LAPSE),  # somebody has changed his mind
        ({"lease_proves": False}, Next.READ_POWER),
        ({"braked": True}, Next.NOTHING),
        ({"accepted": ("power_off", "operator")}, Next.READ_POWER),
        ({"witnessed": True}, Next.REVOKE),
        ({"witnessed": True, "revoked": True, "shown_s": 31.9}, Next.READ_POWER),
        ({"witnessed": True, "revoked": True, "shown_s": 32.0}, Next.CUT_OFF),
        ({"seen_alive": True}, Next.CUT_OFF),  # its guard has stopped its guests nevertheless
        ({"guard": GuardClass.V}, Next.READ_POWER),
        ({"guard": GuardClass.NONE}, Next.READ_POWER),
        ({"guard": GuardClass.NONE, "accepted": CHOSEN}, Next.CUT_OFF),
        ({"guard": GuardClass.V, "accepted": CHOSEN}, Next.CUT_OFF),
        ({"guard": GuardClass.NONE, "accepted": CHOSEN, "seen_alive": True}, Next.READ_POWER),  # its guests are well
        ({"guard": GuardClass.NONE, "accepted": CHOSEN, "seen_alive": True, "fences_isolated": True}, Next.CUT_OFF),
    ],
)
def test_storage_stands_in_for_a_guard_that_is_too_weak_and_for_none_only_where_that_was_chosen(
    changes: dict[str, Any], wanted: Next
) -> None:
    weak = replace(LAPSED, guard=GuardClass.B, witnessed=False)
    assert decide(replace(weak, **changes)) is wanted


@given(host=WATCHED)
def test_nothing_is_cut_off_before_its_lease_has_lapsed_nor_twice(host: Watched) -> None:
    if decide(host) is Next.CUT_OFF:
        assert host.silent_s >= host.lapsed_after_s or (host.shown_s or 0.0) >= host.lapsed_after_s
        assert not host.cut_off
        assert host.lease_proves
