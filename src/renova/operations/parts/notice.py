"""A notice before it is put into words: what happened to which server, and who asked for it."""

import msgspec

from renova.engine.operation import Failure
from renova.model.server import Server


class Doer(msgspec.Struct, frozen=True):
    """Who asked, and under which request."""

    request: str
    user: str
    project: str


class Period(msgspec.Struct, frozen=True):
    """The audit period that usage belongs to."""

    beginning: str
    ending: str


class Notice(msgspec.Struct, frozen=True):
    """What is told. `before`: the server before its state changed, of an update."""

    event: str  # Nova's event_type
    server: Server
    before: Server | None = None
    failure: Failure | None = None
    host: str | None = None
    snapshot: str | None = None  # the image that is made of it
    volume: str | None = None  # that is attached or detached
    doer: Doer | None = None
    period: Period = Period("", "")
    controller: str = ""

    @property
    def publisher(self) -> str:
        """The service that tells this in Nova, and its host; here a controller does what api and conductor do."""
        match self.event:
            case "instance.evacuate" | "instance.lock" | "instance.unlock":
                return f"nova-api:{self.controller}"
            case "instance.rebuild_scheduled" | "compute_task.rebuild_server.error":
                return f"nova-conductor:{self.controller}"
            case _:
                return f"nova-compute:{self.host or self.server.host_name or self.controller}"

    @property
    def priority(self) -> str:
        return "ERROR" if self.failure is not None else "INFO"


POWER = {0: "pending", 1: "running", 3: "paused", 4: "shutdown", 6: "crashed", 7: "suspended"}
