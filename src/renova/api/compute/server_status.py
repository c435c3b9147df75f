"""The status of a server that clients see, from its two states, and back: which states a status stands for."""

from typing import NamedTuple

from renova.model.server import TaskState, VmState

_STABLE = {
    VmState.BUILDING: "BUILD",
    VmState.ACTIVE: "ACTIVE",
    VmState.STOPPED: "SHUTOFF",
    VmState.PAUSED: "PAUSED",
    VmState.SUSPENDED: "SUSPENDED",
    VmState.RESCUED: "RESCUE",
    VmState.RESIZED: "VERIFY_RESIZE",
    VmState.SHELVED: "SHELVED",
    VmState.SHELVED_OFFLOADED: "SHELVED_OFFLOADED",
    VmState.SOFT_DELETED: "SOFT_DELETED",
    VmState.DELETED: "DELETED",
    VmState.ERROR: "ERROR",
}

_SOFT_REBOOT = (TaskState.REBOOTING, TaskState.REBOOT_PENDING, TaskState.REBOOT_STARTED)
_HARD_REBOOT = (TaskState.REBOOTING_HARD, TaskState.REBOOT_PENDING_HARD, TaskState.REBOOT_STARTED_HARD)
_RESIZE = (TaskState.RESIZE_PREP, TaskState.RESIZE_MIGRATING, TaskState.RESIZE_FINISH)
_REBUILD = (TaskState.REBUILDING, TaskState.REBUILD_BLOCK_DEVICE_MAPPING, TaskState.REBUILD_SPAWNING)

_BUSY: dict[tuple[VmState, TaskState | None], str] = {
    **{(VmState.ACTIVE, task): "REBOOT" for task in _SOFT_REBOOT},
    **{(VmState.ACTIVE, task): "HARD_REBOOT" for task in _HARD_REBOOT},
    **{(vm, task): "RESIZE" for vm in (VmState.ACTIVE, VmState.STOPPED) for task in _RESIZE},
    (VmState.ACTIVE, TaskState.MIGRATING): "MIGRATING",
    **{(vm, task): "REBUILD" for vm in (VmState.ACTIVE, VmState.STOPPED, VmState.ERROR) for task in _REBUILD},
}

# What Nova also knows, but no server here is ever in.
_NEVER = frozenset({"PASSWORD", "REVERT_RESIZE", "UNKNOWN"})

WITH_FAULT = frozenset({"ERROR", "DELETED"})
WITH_PROGRESS = frozenset(
    {"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "REVERT_RESIZE", "MIGRATING"},
)


def status(vm_state: VmState, task_state: TaskState | None) -> str:
    return _BUSY.get((vm_state, task_state)) or _STABLE[vm_state]


class States(NamedTuple):
    """Servers of one vm_state: those in one of `tasks`, or (`others`) those in none of them."""

    vm_state: VmState
    tasks: frozenset[TaskState]
    others: bool

    def fit(self, vm_state: VmState, task_state: TaskState | None) -> bool:
        return vm_state is self.vm_state and (task_state in self.tasks) is not self.others


def states(wanted: str) -> list[States] | None:
    """Return the states that have this status, in any case; None for what is no status."""
    wanted = wanted.upper()
    found = []
    for vm_state, stable in _STABLE.items():
        busy = {task: shown for (vm, task), shown in _BUSY.items() if vm is vm_state and task is not None}
        if stable == wanted:
            found.append(States(vm_state, frozenset(busy), others=True))
        elif tasks := frozenset(task for task, shown in busy.items() if shown == wanted):
            found.append(States(vm_state, tasks, others=False))
    return found if found or wanted in _NEVER else None
