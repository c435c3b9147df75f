"""Nothing is done about a host that is heard, and a word alone is never enough about one that may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renova.ha.decide import Next, Watched, decide
from renova.model.host import HostState

SECONDS = st.floats(0, 1000)
WATCHED = st.builds(
    Watched,
    state=st.sampled_from(HostState),
    forced_down=st.booleans(),
    silent_s=SECONDS,
    suspect_after_s=SECONDS,
    lapsed_after_s=SECONDS,
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
