"""What requests have in common: which states allow them, and how a server is left when they fail."""

from collections.abc import Collection

from renova.engine.operation import Failure
from renova.model.errors import Conflict, NotFound
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


def fault(tx: Tx, failure: Failure, code: int = 500) -> Fault:
    return Fault(code=code, message=failure.message, created=tx.now, details=failure.traceback)


def close_failed(tx: Tx, action: int, failure: Failure) -> None:
    """Close the action and its open events with the reason; the traceback is for administrators."""
    actions.close_events(tx, action, error=failure.message, traceback=failure.traceback)
