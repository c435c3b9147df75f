"""What an alarm about a server comes to: its guest counts as crashed, and is started again as one that was found so.

Alarms and what hosts report of crashes are counted together, and followed by `ha.restarting`: so whoever tells of it
first, the guest is restarted once, and one that fails again and again is given up.
"""

from renova.ha.restarting import FOLLOWED, pause, unwished
from renova.model.alarm import Alarm, AlarmStatus
from renova.model.ids import ServerId
from renova.model.server import Server, VmState
from renova.operations.cloud import Cloud
from renova.store import actions, restarts, servers
from renova.store.database import Tx

# What masakari-monitors tell of that a restart may mend: a guest that died, or whose disks or agent fail.
_FATAL = {
    ("LIFECYCLE", "STOPPED_FAILED"),
    ("IO_ERROR", "IO_ERROR_REPORT"),
    ("QEMU_GUEST_AGENT_ERROR", "STOPPED_FAILED"),
    ("QEMU_GUEST_AGENT_ERROR", "QEMU_GUEST_AGENT_ERROR"),
}

_DECIDING = ("create", "start", "stop", "reboot")  # by whose last one a server is to be on or off

Outcome = tuple[AlarmStatus, str]


def count_as_crashed(cloud: Cloud, tx: Tx, alarm: Alarm) -> Outcome:
    """Have the server's guest be started again, if the alarm calls for that; returns what came of it."""
    payload = alarm.payload
    if (payload["event"].upper(), payload["vir_domain_event"].upper()) not in _FATAL:
        return AlarmStatus.IGNORED, "nothing that a restart would mend"
    server = servers.get(tx, ServerId(payload["instance_uuid"].lower()))
    if server is None or server.host != alarm.host:
        return AlarmStatus.IGNORED, f"the server is not on {alarm.host_name}"
    if (reason := unwished(cloud, tx, server) or _decided(tx, server)) is not None:
        return AlarmStatus.IGNORED, reason
    known = restarts.get(tx, server.id)
    if known is not None and known.pending:
        return AlarmStatus.FINISHED, "the crash was seen already, and the server is to be started again"
    settings = cloud.settings.recovery
    restarts.note_crash(tx, server.id, server.last_number, settings.restart_window)
    crash = restarts.get(tx, server.id)
    assert crash is not None
    if pause(crash.crashes, settings) is None:
        return AlarmStatus.FAILED, f"given up: the guest failed {crash.crashes} times in a row"
    return AlarmStatus.FINISHED, "the server is to be started again"


def _decided(tx: Tx, server: Server) -> str | None:
    """Say what somebody has decided of the server, or is about to; None where nobody has."""
    if server.task_state is not None:
        return f"something is being done to the server already: {server.task_state}"
    newest = actions.newest_of(tx, server.id, _DECIDING) if server.vm_state is VmState.STOPPED else None
    if newest is not None and newest.action == "stop":
        return "the server was stopped by its owner"
    return None if server.vm_state in FOLLOWED else f"the server is {server.vm_state}"
