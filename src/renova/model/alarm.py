"""An alarm: what somebody outside says has failed. Masakari calls it a notification; here those are what is sent out.

An alarm is evidence, and never a proof: whoever says that a host is down may be the one who is cut off.
"""

from enum import StrEnum

import msgspec

from renova.model.ids import HostId


class AlarmKind(StrEnum):
    """What has failed."""

    HOST = "COMPUTE_HOST"
    SERVER = "VM"
    PROCESS = "PROCESS"


class AlarmStatus(StrEnum):
    """How far it has been heeded (Masakari, notification statuses)."""

    NEW = "new"
    RUNNING = "running"
    ERROR = "error"  # what it calls for could not be done; it is still tried
    FAILED = "failed"  # it was given up
    IGNORED = "ignored"  # it called for nothing, or what it said turned out not to be so
    FINISHED = "finished"


OPEN = (AlarmStatus.NEW, AlarmStatus.RUNNING, AlarmStatus.ERROR)


class Told(msgspec.Struct, frozen=True):
    """Something that was found or done about an alarm, for people."""

    task: str
    at: str
    message: str


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """What was said, and what came of it."""

    id: int
    uuid: str
    kind: AlarmKind
    segment: str  # by uuid
    segment_host: str  # by uuid
    host: HostId
    host_name: str
    generated_at: str  # by the clock of who says it
    payload: dict[str, str]
    status: AlarmStatus
    told: tuple[Told, ...] = ()
    epoch: int  # of the host's lease when it was raised
    counter: int  # likewise: a host that renewed it since, more than a few times, was well after the alarm
    proof: int | None = None  # of the host's death, once there is one
    who: str  # by name, whose word it is
    created_at: str
    updated_at: str | None

    @property
    def stopped(self) -> bool:
        """Whether a host or a process is said to be down; else it has come back."""
        return self.payload.get("event", "").upper() == "STOPPED"
