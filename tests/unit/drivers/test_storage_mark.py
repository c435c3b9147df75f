"""A mount point on which nothing is mounted is not taken for the storage of a host."""

from collections.abc import Callable
from pathlib import Path

import pytest

from renova.drivers.storage_mark import MARK, StorageMark
from renova.model.chance import SystemChance
from renova.model.errors import NotNow


class Place:
    """A directory on storage that can be mounted and unmounted, and a host's own directory."""

    def __init__(self, at: Path) -> None:
        self.directory, self.known = at / "mnt" / "shared", at / "state" / "instances-storage"
        self._away = at / "away"
        self.known.parent.mkdir()

    def mark(self) -> StorageMark:
        """Return the mark as the next process has it."""
        return StorageMark(self.directory, SystemChance(), self.known)

    def unmount(self) -> None:
        self.directory.rename(self._away)
        self.directory.mkdir()

    def mount(self) -> None:
        self.directory.rmdir()  # as long as nothing was made in it
        self._away.rename(self.directory)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_storage_that_was_known_is_waited_for_and_nothing_made_where_it_was(place: Place) -> None:
    identity = place.mark().identity()
    place.unmount()
    for asked in (place.mark().identity, place.mark().must_be_known):
        with pytest.raises(NotNow, match=rf"{identity}, and is gone\): is it mounted\?.*remove {place.known}\."):
            asked()
    assert list(place.directory.iterdir()) == []
    place.mount()
    place.mark().must_be_known()
    assert place.mark().identity() == identity


def other(place: Place) -> None:
    (place.directory / MARK).write_text("another\n")


def none(place: Place) -> None:
    (place.directory / MARK).unlink()
    place.directory.rmdir()


@pytest.mark.parametrize("becomes", [other, none])
def test_storage_that_takes_the_place_of_what_was_known_has_to_be_wanted(
    place: Place, becomes: Callable[[Place], None]
) -> None:
    former = place.mark().identity()
    becomes(place)
    with pytest.raises(NotNow, match="on other storage than before"):
        place.mark().identity()
    place.known.unlink()  # as it was told
    taken = place.mark().identity()
    assert taken != former
    assert place.mark().identity() == taken
    assert place.known.read_text() == f"{taken}\n"


def test_a_host_that_knows_none_yet_takes_what_it_finds(place: Place) -> None:
    of_another_host = StorageMark(place.directory, SystemChance()).identity()
    place.mark().must_be_known()
    assert not place.known.exists(), "it is kept once it is taken"
    assert place.mark().identity() == of_another_host
    place.unmount()
    with pytest.raises(NotNow):
        place.mark().identity()


def test_what_cannot_be_kept_is_not_taken(place: Place) -> None:
    place.known.parent.rmdir()
    with pytest.raises(NotNow, match="cannot be written"):
        place.mark().identity()
