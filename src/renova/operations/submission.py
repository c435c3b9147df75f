"""How a request becomes an operation: the action, the number and the operation itself, in one transaction."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec

from renova.engine.journal import Held
from renova.engine.operation import Failure, Story
from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.model.errors import Conflict, NotNow
from renova.model.ids import ExecutorId, OperationId, ProjectId, ServerId, UserId
from renova.model.server import Server
from renova.store import actions, operations
from renova.store.database import Database, Tx

ANSWER_WITHIN = 60  # seconds; as long as Nova waits for a host
SHORTEST_LOOK, LONGEST_LOOK = 0.02, 0.5  # seconds between looks whether an operation has ended


class Asked(msgspec.Struct, frozen=True):
    """Who asks for an operation, and under which request."""

    user: UserId
    project: ProjectId
    request: str
    admin: bool = False  # may act on locked servers


def for_owner(server: Server, chance: Chance) -> Asked:
    """Ask in the name of the server's owner, for what nobody asks for; it may act on a locked server."""
    return Asked(server.user, server.project, f"req-{chance.uuid()}", admin=True)


class Operations(Protocol):
    """What runs operations in this controller (`engine.runner.Runner`)."""

    @property
    def executor(self) -> ExecutorId: ...

    def start(self, held: Held) -> None: ...
    def stop(self, operation: OperationId) -> None: ...
    async def finished(self, operation: OperationId) -> None: ...


@dataclass(frozen=True, slots=True)
class Submission:
    """The request as it is written down."""

    story: Story[Any]
    action: str  # as users see it: "reboot"
    want: Any


class Submitted(NamedTuple):
    """What was written down: the operation, which may still have to wait, and the action that users see."""

    operation: OperationId
    action: int


def submit(
    tx: Tx, runs: Operations, asked: Asked, server: ServerId, submission: Submission, *, waits: bool = False
) -> Submitted:
    """Write action and operation down; it starts once the transaction commits, or after the quiet one that goes on.

    `Conflict` when another operation is active: supersede that first where the spec allows it. A quiet one that
    `waits` is told after whichever goes on.
    """
    action = actions.begin(tx, server, asked.request, submission.action, asked.user, asked.project)
    operation, held = operations.submit(
        tx,
        server,
        story=submission.story.name,
        version=submission.story.version,
        want=msgspec.json.encode(submission.want),
        action=action,
        executor=runs.executor,
        quiet=submission.story.quiet,
        waits=waits,
    )
    if held is not None:
        begins = held
        tx.then(lambda: runs.start(begins))
    return Submitted(operation, action)


def supersede(
    tx: Tx,
    runs: Operations,
    server: ServerId,
    reason: str,
    *,
    at_once: bool = False,
    sparing: Collection[Story[Any]] = (),
) -> None:
    """End the server's active operation, if any, in favour of a newer one; its action is closed as failed.

    A quiet one is waited for instead; `at_once`, for what cannot wait, puts it back to be done afterwards.
    `Conflict` where one of those to spare is under way: cut off, it would leave what nobody else brings to an end.
    """
    if under_way(tx, server, sparing):
        raise Conflict(operations.UNDER_WAY)
    held = operations.active(tx, server)
    if held is None:
        return
    for ended in [held, *operations.queued(tx, server)]:
        if not ended.quiet:
            _cut_off(tx, ended, reason)
    if held.quiet and at_once:
        operations.put_back(tx, held)
    if not held.quiet or at_once:
        tx.then(lambda: runs.stop(held.id))


def under_way(tx: Tx, server: ServerId, stories: Collection[Story[Any]]) -> bool:
    """Say whether an operation that tells one of these stories is active, or waits."""
    names = {story.name for story in stories}
    return any(each.story in names for each in operations.under_way(tx, server))


def drop_waiting(tx: Tx, server: ServerId, reason: str) -> None:
    """End whatever waits behind the server's active operation: it will never be possible."""
    for held in operations.queued(tx, server):
        _cut_off(tx, held, reason)


def _cut_off(tx: Tx, held: Held, reason: str) -> None:
    """End an operation in favour of another; whoever looks at its action finds the reason, though it never began."""
    operations.supersede(tx, held)
    if not actions.events_of(tx, held.action):
        actions.open_event(tx, held.action, f"compute_{held.story}", None)
    actions.close_events(tx, held.action, error=reason)


async def ended(database: Database, clock: Clock, operation: OperationId) -> Failure | None:
    """Wait until the operation has ended, wherever it runs; returns why it failed, if it did.

    For the few requests that are answered only when all is done. `NotNow` after `ANSWER_WITHIN`, which ends nothing:
    the operation goes on. A database that is away is waited for as long: who is told to come again asks for another.
    """
    pause, began = SHORTEST_LOOK, clock.monotonic()
    while True:
        with suppress(NotNow):
            state, failure = await database.read(lambda tx: operations.outcome(tx, operation))
            if state not in ("active", "queued"):
                break
        if clock.monotonic() - began + pause > ANSWER_WITHIN:
            raise NotNow(f"It is still under way after {ANSWER_WITHIN} seconds, and goes on: look at the server later.")
        await clock.sleep(pause)
        pause = min(2 * pause, LONGEST_LOOK)
    if state == "done":
        return None
    if state == "lost":
        raise NotNow("The database lost its last commits, and this among them: look at the server, and ask again.")
    if failure is None:
        return Failure("it was superseded by another operation", "Superseded", "", "")
    return msgspec.json.decode(failure, type=Failure)
