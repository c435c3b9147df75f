"""This run of a controller, as the others know it: its name, and until when they cannot take it for dead."""

from renova.model.chance import Chance
from renova.model.ids import ExecutorId


class Executor:
    """Named anew whenever it was taken for dead: what was begun under the old name can commit nothing more."""

    def __init__(self, name: ExecutorId) -> None:
        self.id = name
        self.leased_until = float("-inf")  # on our own monotonic clock, counted from when the renewal was sent
        self.steady_since = float("inf")  # likewise: since when no renewal came too late

    def rename(self, chance: Chance) -> None:
        self.id = ExecutorId(chance.uuid())
        self.leased_until = float("-inf")
