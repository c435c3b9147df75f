"""What the simulation holds against the product when a receiver is told of events."""

import msgspec
import pytest

from renova.partners.notifications import CloudEvent
from renova.simulation.announcements import Announcements
from renova.simulation.ledger import Change


def demand(true: bool, invariant: str, account: str, server: str) -> None:
    if not true:
        raise AssertionError(f"{invariant}: {account.format(server)}")


def event(number: int, name: str) -> CloudEvent:
    return CloudEvent(
        id=name,
        source="cloud",
        type="instance.create.end",
        subject="vm",
        time="",
        sequence=f"{number:020}",
        data=msgspec.Raw(b"{}"),
    )


def written(announcements: Announcements, *events: CloudEvent) -> None:
    announcements.committed(
        [Change("notices", None, {"number": int(each.sequence), "id": each.id, "server": "vm"}) for each in events]
    )


def test_events_of_a_server_are_to_be_told_in_their_order() -> None:
    announcements = Announcements(demand)
    first, second = event(1, "first"), event(2, "second")
    written(announcements, first, second)
    announcements.heard(second)
    with pytest.raises(AssertionError, match="event 1 of vm is told after event 2"):
        announcements.heard(first)


def test_one_that_was_on_its_way_as_it_was_lost_has_no_place_in_that_order() -> None:
    announcements = Announcements(demand)
    lost, again = event(9, "lost"), event(8, "again")
    written(announcements, lost)
    announcements.lost_commits([])
    announcements.heard(lost)
    written(announcements, again)
    announcements.heard(again)


def test_one_that_the_database_kept_has_its_place() -> None:
    announcements = Announcements(demand)
    kept, earlier = event(9, "kept"), event(8, "earlier")
    written(announcements, kept, earlier)
    announcements.lost_commits([{"id": "kept"}, {"id": "earlier"}])
    announcements.heard(kept)
    with pytest.raises(AssertionError, match="told after event 9"):
        announcements.heard(earlier)
