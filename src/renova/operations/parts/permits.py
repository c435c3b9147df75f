"""Which states of a server allow which action: one table, asked by every `accept_*` (spec: Nova, nova/compute/api).

A row says in which vm_states and task_states the action may begin, whether a lock keeps all but administrators from
it, and whether the server must have been launched and have a host. What an action demands beyond that (a dead host,
an image that is there) is its own affair.
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import Final

from renova.model.errors import Conflict
from renova.model.ids import ServerId
from renova.model.server import Server, TaskState, VmState
from renova.operations.parts.state import demand_unlocked, demand_vm_state, get_server
from renova.operations.submission import Asked
from renova.store import servers
from renova.store.database import Tx

IDLE: Final[Set[TaskState | None]] = frozenset({None})
ANY_TASK: Final[Set[TaskState | None]] = frozenset({None, *TaskState})
ANY_STATE: Final[Set[VmState]] = frozenset(VmState)


@dataclass(frozen=True, slots=True)
class Permit:
    """When an action may begin."""

    vm_states: Set[VmState]
    tasks: Set[TaskState | None] = IDLE
    lock: bool = True  # a locked server is left alone by all but administrators
    launched: bool = True  # the server has run before
    host: bool = False  # the server has a host


_UP_OR_OFF = frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.ERROR})
_DEVICES_CHANGE = frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.STOPPED})
_KEPT = frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.SUSPENDED, VmState.STOPPED})
# A hard reboot ends what hangs before it has begun to work on the guest, and no other hard reboot.
_REBOOTED_HARD_OVER = frozenset(
    {
        None,
        TaskState.REBOOTING,
        TaskState.REBOOT_PENDING,
        TaskState.REBOOT_STARTED,
        TaskState.REBOOTING_HARD,
        TaskState.RESUMING,
        TaskState.UNPAUSING,
        TaskState.PAUSING,
        TaskState.SUSPENDING,
    }
)

# By the action's word in messages to users; what follows it tells kinds of the same action apart.
PERMITS: Final[dict[str, Permit]] = {
    "reboot SOFT": Permit(frozenset({VmState.ACTIVE})),
    "reboot HARD": Permit(_KEPT | {VmState.ERROR}, _REBOOTED_HARD_OVER),
    "rebuild": Permit(_UP_OR_OFF),
    "evacuate": Permit(_UP_OR_OFF, ANY_TASK - {TaskState.DELETING}, lock=False),  # whoever deletes it wins
    "start": Permit(frozenset({VmState.STOPPED}), host=True),
    "stop": Permit(frozenset({VmState.ACTIVE, VmState.ERROR}), host=True),
    "pause": Permit(frozenset({VmState.ACTIVE}), host=True),
    "unpause": Permit(frozenset({VmState.PAUSED}), host=True),
    "suspend": Permit(frozenset({VmState.ACTIVE}), host=True),
    "resume": Permit(frozenset({VmState.SUSPENDED}), host=True),
    "createImage": Permit(_KEPT, lock=False, host=True),
    "createBackup": Permit(_KEPT, lock=False, host=True),
    # What this cloud does not have yet is refused only after the state was asked for.
    "rescue": Permit(_UP_OR_OFF),
    "unrescue": Permit(frozenset({VmState.RESCUED})),
    "changePassword": Permit(frozenset({VmState.ACTIVE})),
    "trigger_crash_dump": Permit(
        frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.RESCUED, VmState.RESIZED, VmState.ERROR})
    ),
    "resize": Permit(frozenset({VmState.ACTIVE, VmState.STOPPED})),
    "migrate": Permit(frozenset({VmState.ACTIVE, VmState.STOPPED})),
    "os-migrateLive": Permit(frozenset({VmState.ACTIVE})),  # Nova's: paused ones, too
    "confirmResize": Permit(frozenset({VmState.RESIZED})),
    "revertResize": Permit(frozenset({VmState.RESIZED})),
    "shelve": Permit(_KEPT),
    "shelveOffload": Permit(frozenset({VmState.SHELVED})),
    "unshelve": Permit(frozenset({VmState.SHELVED, VmState.SHELVED_OFFLOADED})),
    "restore": Permit(frozenset({VmState.SOFT_DELETED})),
    "attach_volume": Permit(_DEVICES_CHANGE, host=True),
    "detach_volume": Permit(_DEVICES_CHANGE, host=True),
    "swap_volume": Permit(frozenset({VmState.ACTIVE, VmState.PAUSED}), host=True),
    "attach_interface": Permit(_DEVICES_CHANGE, host=True),
    "detach_interface": Permit(_DEVICES_CHANGE, host=True),
    "delete": Permit(ANY_STATE, ANY_TASK, launched=False),
    "lock": Permit(ANY_STATE, ANY_TASK, lock=False, launched=False),
    "unlock": Permit(ANY_STATE, ANY_TASK, lock=False, launched=False),
    "resetState": Permit(ANY_STATE, ANY_TASK, lock=False, launched=False),
}


def permitted(tx: Tx, server_id: ServerId, action: str, asked: Asked) -> Server:
    """Return the server if it may be acted on so now; see `demand_permitted`. `NotFound`."""
    server = get_server(tx, server_id)
    demand_permitted(server, action, asked)
    return server


def demand_permitted(server: Server, action: str, asked: Asked) -> None:
    """Raise `Conflict`, worded as Nova does, with the state that is in the way of acting on the server so now.

    The task state is compared once more by whoever sets it (`take_task`).
    """
    if PERMITS[action].lock:
        demand_unlocked(server, asked)
    demand_state(server, action)


def demand_state(server: Server, action: str) -> None:
    """Raise `Conflict` as `demand_permitted` does, whoever asks: a lock is not looked at."""
    permit, word = PERMITS[action], _word(action)
    if permit.host and server.host is None:
        raise Conflict(f"Instance {server.id} is not ready: it has no host")
    demand_vm_state(server, word, permit.vm_states, launched=permit.launched)
    if server.task_state not in permit.tasks:
        raise Conflict(f"Cannot '{word}' instance {server.id} while it is in task_state {server.task_state}")


def take_task(tx: Tx, server: Server, action: str, wanted: TaskState) -> None:
    """Set the task state; `Conflict` for the loser of a race, or where another task is under way."""
    expected = sorted(PERMITS[action].tasks, key=lambda task: task or "")
    if not servers.swap_task(tx, server.id, expected, wanted):
        raise Conflict(f"Cannot '{_word(action)}' instance {server.id} while it is in task_state {server.task_state}")


def _word(action: str) -> str:
    return action.partition(" ")[0]
