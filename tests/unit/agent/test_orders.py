"""An order is as good as its weakest member."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renova.agent.journal import HostPage, ServerPage
from renova.agent.orders import check, check_shape, noted, settled
from renova.model.errors import Broken, CloudError, NotNow, Stale
from renova.model.ids import ImageId, ServerId
from renova.wire.acts import Act, AnyAct, Define, DropDisks, DropSnapshot, Prepare, Remove, SoftReboot, Start, Stop
from renova.wire.commands import Order
from renova.wire.results import State

from ...agent.host import SERVER, guest, nic

HOST = HostPage("journal", era=2, epoch=5)
KNOWN = ServerPage(incarnation=3, number=10, epoch=4, burnt=2)
PLAIN = {"era": 2, "host_epoch": 5, "session": "s", "incarnation": 3, "number": 10, "epoch": 4}


def an_order(**changed: object) -> Order:
    return Order(server=SERVER, **(PLAIN | changed))  # type: ignore[arg-type]


CASES: list[tuple[str, dict[str, object], Act, type[CloudError] | None]] = [
    ("the very same again", {}, Stop(0), None),
    ("a higher executor's epoch", {"epoch": 5}, Stop(0), None),
    ("a newer operation, whatever its epoch", {"number": 11, "epoch": 1}, Stop(0), None),
    ("a newer incarnation by a newer operation", {"incarnation": 4, "number": 11}, Stop(0), None),
    ("a former era", {"era": 1}, Stop(0), Stale),
    ("a former era with a higher lease", {"era": 1, "host_epoch": 6}, Stop(0), Stale),
    ("an era nobody told", {"era": 3}, Stop(0), NotNow),
    ("a former lease", {"host_epoch": 4}, Stop(0), Stale),
    ("a former lease with all else newer", {"host_epoch": 4, "incarnation": 9, "number": 99}, Stop(0), Stale),
    ("a lease nobody told", {"host_epoch": 6}, Stop(0), NotNow),
    ("another connection", {"session": "t"}, Stop(0), Stale),
    ("a former incarnation", {"incarnation": 2, "number": 11}, Stop(0), Stale),
    ("a former operation", {"number": 9, "epoch": 9}, Stop(0), Stale),
    ("a former executor of the operation", {"epoch": 3}, Stop(0), Stale),
    ("a newer incarnation by a former operation", {"incarnation": 4, "number": 9}, Stop(0), Stale),
]


@pytest.mark.parametrize(("changed", "act", "error"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_may_be_obeyed(changed: dict[str, object], act: Act, error: type[CloudError] | None) -> None:
    if error is None:
        check(an_order(**changed), act, "s", HOST, KNOWN)
    else:
        with pytest.raises(error):
            check(an_order(**changed), act, "s", HOST, KNOWN)


@pytest.mark.parametrize(
    "act", [Prepare(guest(3)), Start(guest(3)), Define(guest(3)), SoftReboot(guest(3), 1), Stop(0), DropDisks(None)]
)
def test_nothing_that_could_bring_it_back_is_obeyed_of_a_burnt_incarnation(act: AnyAct) -> None:
    burnt = noted(an_order(), Remove(disks=False), KNOWN)
    assert burnt.burnt == 3
    for takes_away in (Remove(disks=False), DropSnapshot(ImageId("image"))):
        check(an_order(), takes_away, "s", HOST, burnt)
    with pytest.raises(Stale, match="given up"):
        check(an_order(number=11), act, "s", HOST, burnt)
    check(an_order(incarnation=4, number=11), act, "s", HOST, burnt)


def test_a_late_remove_cannot_hit_a_newer_incarnation() -> None:
    newer = noted(an_order(incarnation=5, number=12), Stop(0), KNOWN)
    with pytest.raises(Stale):
        check(an_order(), Remove(disks=True), "s", HOST, newer)


def test_an_order_and_its_guest_must_agree() -> None:
    check_shape(an_order(), Start(guest(3)))
    check_shape(an_order(), Stop(0))
    with pytest.raises(Broken):
        check_shape(an_order(), Start(guest(4)))
    with pytest.raises(Broken):
        check_shape(an_order(), Prepare(guest(3, server=ServerId("another"))))


def test_former_nics_are_kept_until_they_are_taken_away() -> None:
    act = Start(guest(3, nics=(2, 3)))
    before = noted(an_order(), act, ServerPage(nics=(nic(1), nic(2))))
    assert before.nics == (nic(2), nic(3), nic(1))
    assert settled(an_order(), act, State(None), before).nics == (nic(2), nic(3))
    assert settled(an_order(), Stop(0), State(None), before).nics == before.nics
    assert settled(an_order(), Remove(disks=False), State(None), before).nics == ()


small = st.integers(1, 4)


@given(
    first=st.tuples(small, small, small),
    second=st.tuples(small, small, small),
    removes=st.booleans(),
)
def test_after_a_newer_order_the_older_one_is_never_obeyed(
    first: tuple[int, int, int], second: tuple[int, int, int], removes: bool
) -> None:
    """Whatever was obeyed, what comes later is at least as new in every member; else it is refused."""

    def order(numbers: tuple[int, int, int]) -> Order:
        return an_order(incarnation=numbers[0], number=numbers[1], epoch=numbers[2])

    page = noted(order(first), Remove(disks=False) if removes else Stop(0), ServerPage())
    try:
        check(order(second), Stop(0), "s", HOST, page)
    except Stale:
        assert second[0] < first[0] or second[1:] < first[1:] or (removes and second[0] <= first[0])
    else:
        assert second[0] >= first[0]
        assert second[1:] >= first[1:]
        assert second[0] > first[0] or not removes
