"""Operations and who tells them: by whom one belongs to (one_teller), once, until its end (ended).

Whoever takes one over has a higher epoch (monotone).
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import msgspec

from renova.model.ids import ImageId
from renova.operations.create_image import CREATE_IMAGE, CreateImage
from renova.operations.migrate import MIGRATE, MigrateServer
from renova.simulation.invariants.view import View
from renova.simulation.ledger import Change, Row

FINAL = ("done", "failed", "superseded")


class _Told(NamedTuple):
    """An operation as it was last committed."""

    state: str
    executor: str
    epoch: int
    undoing: bool


class Operations:
    """Operations as they were last committed, and who committed it."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._operations: dict[int, _Told] = {}
        self._enlisted: dict[str, str] = {}  # executor to the process that is it
        self.ordered_images: set[ImageId] = set()  # that an operation was to make
        self._copied_as: set[ImageId] = set()  # these, and those as which moves were to carry disks

    def enlisted(self, who: str, executor: str) -> None:
        """Note which process an executor is."""
        self._enlisted[executor] = who

    def changed(self, who: str, change: Change) -> None:
        """Check an operation as the process `who` has committed it."""
        if change.new is None:
            return
        demand = self._view.checks.demand
        row, former = change.new, self._operations.get(change.new["id"])
        self.ordered_images.update(_image_of(row))
        self._copied_as.update(_copies_of(row))
        now = self._operations[row["id"]] = _told(row)
        if former is None or self._view.believed.lost_commits:
            return
        which = f"operation {row['id']} ({row['story']})"
        demand(
            former.state not in FINAL or now.state == former.state,
            "ended",
            f"{which} was {former.state}, and is {now.state}",
        )
        demand(
            now.executor in ("", former.executor) or now.epoch > former.epoch,
            "monotone",
            f"{which} goes from one teller to another under epoch {now.epoch}, after {former.epoch}",
        )
        if now.state != former.state and now.state in ("done", "failed"):
            self._demand_teller(who, former.executor, f"ends {which}")
        if now.undoing and not former.undoing:
            self._demand_teller(who, former.executor, f"begins to undo {which}")

    def step_noted(self, who: str, change: Change) -> None:
        """Check a step that the process `who` has noted in the journal."""
        if change.new is None:
            return
        operation = change.new["operation"]
        if (told := self._operations.get(operation)) is not None:
            notes = f"notes {change.new['step'] or 'an undo'} of operation {operation}"
            self._view.checks.demand(told.state == "active", "ended", f"{who} {notes}, which is {told.state}")
            self._demand_teller(who, told.executor, notes)

    def _demand_teller(self, who: str, executor: str, does: str) -> None:
        owner = self._enlisted.get(executor)
        if owner is not None and not self._view.believed.lost_commits:
            self._view.checks.demand(owner == who, "one_teller", f"{who} {does}, which is {owner}'s")

    def begin_again(self, rows: Collection[Row]) -> None:
        """Go on from what a database holds that has lost commits."""
        self._operations = {row["id"]: _told(row) for row in rows}
        # Also where the operation is known still: that it had made a copy may not be.
        self._view.believed.forgotten_images |= self._copied_as


def _image_of(operation: Row) -> Iterator[ImageId]:
    """Give the image that the operation is to make, if it is one that does, and has not ended."""
    if operation["story"] == CREATE_IMAGE.name and operation["want"]:
        yield msgspec.json.decode(operation["want"], type=CreateImage).image


def _copies_of(operation: Row) -> Iterator[ImageId]:
    """Give the images as which the operation is to copy a disk."""
    yield from _image_of(operation)
    if operation["story"] == MIGRATE.name and operation["want"]:
        yield from msgspec.json.decode(operation["want"], type=MigrateServer).unfinished_images


def _told(row: Row) -> _Told:
    return _Told(row["state"], row["executor"], row["epoch"], bool(row["undoing"]))
