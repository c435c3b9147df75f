"""A server's recovery: what became of it when its host died, and how long each stage took."""

from enum import StrEnum

import msgspec

from renova.model.clock import between
from renova.model.ids import HostId, ServerId


class RecoveryState(StrEnum):
    """Where a recovery stands."""

    WAITING = "waiting"  # it has its place in the plan, and its turn is still to come
    MOVING = "moving"  # its evacuation is under way
    UP = "up"  # it is on its new host as it was on its former one
    FAILED = "failed"  # it is to be recovered, and could not be: that is tried again
    LEFT = "left"  # it waits for its host, as somebody wished
    STOPPED = "stopped"  # it is off, as somebody wished
    OVER = "over"  # there is nothing left to recover: its host came back, or it moved or went otherwise


OPEN = (RecoveryState.WAITING, RecoveryState.MOVING)
AGAIN = (RecoveryState.FAILED, RecoveryState.LEFT)  # looked at again now and then


class Stages(msgspec.Struct, frozen=True):
    """For how many seconds each stage of a recovery took; None: it has not come to its end."""

    detect: float | None  # from when its host was heard last until that was suspected
    prove: float | None  # until the proof of its death was written
    plan: float | None  # until the server had its place in the plan
    start: float | None  # until its new host was commanded
    up: float | None  # until it was up there


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one server of one dead host, by one proof of that death."""

    id: int
    server: ServerId
    name: str
    host: HostId  # that died
    host_name: str
    proof: int
    state: RecoveryState
    reason: str = ""  # why it is not up
    place: int = 0  # in the plan: who comes first
    priority: int = 0
    after: tuple[ServerId, ...] = ()  # servers that are to be up first
    target: str | None = None  # the host that the plan has for it, by name
    reached: str | None = None  # the host where it is up, by name
    disks: str | None = None  # what becomes of disks that only its host has: none, kept, lost
    attempts: int = 0  # evacuations that were begun
    migration: int | None = None  # the newest of these
    detect_s: float | None = None
    prove_s: float | None = None
    proven_at: str
    planned_at: str
    begun_at: str | None = None
    ended_at: str | None = None
    again_at: str | None = None  # when it is looked at again
    predicted_begun_s: float | None = None  # since its host died, as a rehearsal would say
    predicted_up_s: float | None = None

    @property
    def stages(self) -> Stages:
        up_at = self.ended_at if self.state is RecoveryState.UP else None
        return Stages(
            self.detect_s,
            self.prove_s,
            between(self.proven_at, self.planned_at),
            between(self.planned_at, self.begun_at),
            between(self.begun_at, up_at),
        )

    @property
    def up_s(self) -> float | None:
        """Seconds from the host's death until the server was up."""
        stages = msgspec.structs.astuple(self.stages)
        return None if None in stages else sum(stages)
