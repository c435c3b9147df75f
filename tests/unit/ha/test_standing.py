"""Each host stands in one word, and "dead" is said of none without a proof."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renova.ha.standing import Standing, standing
from renova.model.host import Host, HostState
from renova.model.ids import HostId


def a_host(state: HostState, *, disabled: bool = False) -> Host:
    return Host(
        id=HostId("a"),
        serial=1,
        name="a",
        address="10.0.0.1",
        certificate="",
        state=state,
        disabled=disabled,
        created_at="",
        updated_at="",
    )


@pytest.mark.parametrize(
    ("state", "disabled", "silent", "seen", "wanted"),
    [
        (HostState.ENROLLED, False, True, False, Standing.ENROLLED),
        (HostState.UP, False, False, False, Standing.UP),
        (HostState.UP, False, True, False, Standing.SUSPECT),
        (HostState.UP, False, True, True, Standing.ISOLATED),
        (HostState.UP, True, False, False, Standing.MAINTENANCE),
        (HostState.UP, True, True, False, Standing.MAINTENANCE),
        (HostState.RETURNING, False, False, False, Standing.RETURNING),
        (HostState.RETURNING, False, True, False, Standing.SUSPECT),
        (HostState.DEAD, True, True, True, Standing.DEAD),
    ],
)
def test_how_a_host_stands(state: HostState, disabled: bool, silent: bool, seen: bool, wanted: Standing) -> None:
    assert standing(a_host(state, disabled=disabled), silent=silent, seen=seen) is wanted


@given(state=st.sampled_from(HostState), disabled=st.booleans(), silent=st.booleans(), seen=st.booleans())
def test_only_who_is_proven_dead_is_called_so(state: HostState, disabled: bool, silent: bool, seen: bool) -> None:
    found = standing(a_host(state, disabled=disabled), silent=silent, seen=seen)
    assert (found is Standing.DEAD) == (state is HostState.DEAD)
