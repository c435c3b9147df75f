"""How a request becomes an operation: the action, the number and the operation itself, in one transaction."""

from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from renova.engine.journal import Held
from renova.engine.operation import Story
from renova.model.ids import ExecutorId, OperationId, ProjectId, ServerId, UserId
from renova.store import actions, operations, servers
from renova.store.database import Tx


class Asked(msgspec.Struct, frozen=True):
    """Who asks for an operation, and under which request."""

    user: UserId
    project: ProjectId
    request: str
    admin: bool = False  # may act on locked servers


class Operations(Protocol):
    """What runs operations in this controller (`engine.runner.Runner`)."""

    executor: ExecutorId

    def start(self, held: Held) -> None: ...
    def stop(self, operation: OperationId) -> None: ...
    async def finished(self, operation: OperationId) -> None: ...


@dataclass(frozen=True, slots=True)
class Submission:
    """The request as it is written down."""

    story: Story[Any]
    action: str  # as users see it: "reboot"
    want: Any


def submit(tx: Tx, runs: Operations, asked: Asked, server: ServerId, submission: Submission) -> Held:
    """Write action and operation down; it starts once the transaction commits.

    `Conflict` when another operation is active: supersede that first where the spec allows it.
    """
    action = actions.begin(tx, server, asked.request, submission.action, asked.user, asked.project)
    number = servers.next_number(tx, server)
    held = operations.submit(
        tx,
        server,
        number,
        story=submission.story.name,
        version=submission.story.version,
        want=msgspec.json.encode(submission.want),
        action=action,
        executor=runs.executor,
    )
    tx.then(lambda: runs.start(held))
    return held


def supersede(tx: Tx, runs: Operations, server: ServerId, reason: str) -> Held | None:
    """End the server's active operation, if any, in favour of a newer one; its action is closed as failed."""
    held = operations.active(tx, server)
    if held is not None:
        operations.supersede(tx, held)
        actions.close_events(tx, held.action, error=reason)
        tx.then(lambda: runs.stop(held.id))
    return held
