"""What requests have in common: which states allow them, and how a server is left when they fail."""

from collections.abc import Collection

from renova.engine.journal import Held
from renova.engine.operation import Failure
from renova.model.errors import Conflict, NotFound
from renova.model.guest import PowerState
from renova.model.ids import ServerId
from renova.model.server import Fault, Server, VmState
from renova.operations.submission import Asked
from renova.store import actions, servers
from renova.store.database import Tx


def get_server(tx: Tx, server: ServerId) -> Server:
    found = servers.get(tx, server)
    if found is None:
        raise NotFound(f"Instance {server} could not be found.")
    return found


def demand_unlocked(server: Server, asked: Asked) -> None:
    if server.locked_by is not None and not asked.admin:
        raise Conflict(f"Instance {server.id} is locked")


def demand_vm_state(server: Server, action: str, allowed: Collection[VmState], *, launched: bool = True) -> None:
    """Raise `Conflict`, worded as Nova does, unless the server's state allows the action (spec: states, section 5)."""
    if launched and server.launched_at is None:
        raise Conflict(f"Cannot '{action}' instance {server.id} while it is in an invalid state: it never started")
    if server.vm_state not in allowed:
        raise Conflict(f"Cannot '{action}' instance {server.id} while it is in vm_state {server.vm_state}")


def leave_as_it_was(tx: Tx, held: Held, failure: Failure) -> None:
    """End a failed task: the server is in the state it had, and the reason is kept."""
    servers.change(tx, held.server, task_state=None, fault=fault(tx, failure))
    close_failed(tx, held.action, failure)


def note_found_off(tx: Tx, held: Held, power: PowerState) -> None:
    """End a task that needs a living guest and found none: the server is stopped, as its guest is."""
    failure = Failure("the guest is off: its memory went with its host, or it powered itself off", "Refused", "", "")
    servers.change(
        tx, held.server, vm_state=VmState.STOPPED, task_state=None, power_state=power, fault=fault(tx, failure)
    )
    close_failed(tx, held.action, failure)


def fault(tx: Tx, failure: Failure, code: int = 500) -> Fault:
    details = failure.traceback or failure.details
    return Fault(code=code, message=failure.message, created=tx.now, details=details, whole=failure.whole)


def close_failed(tx: Tx, action: int, failure: Failure) -> None:
    """Close the action and its open events with the reason; both it and the traceback are for administrators."""
    actions.close_events(tx, action, error=failure.whole, traceback=failure.traceback)
