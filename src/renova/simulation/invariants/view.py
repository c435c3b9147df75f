"""What all invariants look at: the hosts from outside, and what was last committed of the whole cloud."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from renova.model.ids import ImageId, ServerId
from renova.model.server import TaskState
from renova.simulation.history import History
from renova.simulation.hosts import SimulatedHost
from renova.simulation.invariants.checks import Checks
from renova.simulation.ledger import Change, Row


@dataclass
class Believed:
    """What was broken on purpose, so that a run may not hold it against the product."""

    lied_of: set[str] = field(default_factory=set)  # hosts of which a BMC or an operator said what is not so
    broken: list[str] = field(default_factory=list)  # what was said so, in sentences
    lost_commits: bool = False  # the database is not what it was, and the product has not found out yet
    ever_lost: bool = False  # it was so once
    deleted: set[ServerId] = field(default_factory=set)  # servers whose delete was ever committed, lost or not
    forgotten_images: set[ImageId] = field(default_factory=set)  # of operations that may be lost, or steps of theirs


@dataclass
class View:
    """Shared by the invariants of one run: how they check, and what several of them go by."""

    history: History
    checks: Checks
    hosts: Mapping[str, SimulatedHost]
    # Whether the host stood still with all that guards it, and goes on since a moment ago: no more than its disks'
    # order can be asked for then (safety protocol, section 9).
    just_woken: Callable[[str], bool] = lambda _host: False
    believed: Believed = field(default_factory=Believed)
    names: dict[str, str] = field(default_factory=dict)  # of hosts, by id
    servers: dict[ServerId, Row] = field(default_factory=dict)
    hold: str | None = None  # why the cloud is on hold, if it is

    @property
    def in_doubt(self) -> bool:
        """Whether the database may not be what it was: commits were lost, or a hold has not ended yet."""
        return self.hold is not None or self.believed.lost_commits

    def name(self, host: str | None) -> str:
        """Return the name of the host with this id."""
        return self.names.get(host or "", "nobody")

    def server_changed(self, change: Change) -> None:
        row = change.new or change.old or {}
        deleted = change.new is None or row["deleted"]
        self.servers[row["id"]] = {**row, "deleted": deleted}
        if deleted or row["task_state"] == TaskState.DELETING:
            self.believed.deleted.add(row["id"])
