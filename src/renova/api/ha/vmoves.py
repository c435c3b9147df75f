"""VM moves: what became of the servers of a host that was said to be down, once it was proven."""

import uuid
from typing import Any

import msgspec

from renova.api.compute.fields import canonical, is_uuid
from renova.api.ha.lists import page, with_value
from renova.api.ha.notifications import find_alarm
from renova.api.ha.segments import times
from renova.api.ha.versions import VMOVES
from renova.api.http import Call, Reply, Route
from renova.ha.moves import Move, moves_of
from renova.model.alarm import Alarm, AlarmKind
from renova.model.errors import Invalid, NotFound
from renova.store.database import Tx

RULE = "os_masakari_api:vmoves:"
POLICY = {f"{RULE}{action}": "rule:admin_api" for action in ("index", "detail")}

TYPE = "evacuation"


class VMove(msgspec.Struct, frozen=True):
    """A move with what it is called below its notification."""

    id: int
    uuid: str
    move: Move


def _vmoves(tx: Tx, alarm: Alarm) -> list[VMove]:
    """List the moves that the notification led to, the newest first. The uuid of each is made of what it is about."""
    moves = moves_of(tx, alarm.proof) if alarm.proof is not None else []
    moves.sort(key=lambda each: (each.created_at, each.server))
    named = [VMove(nth, str(uuid.uuid5(uuid.UUID(alarm.uuid), move.server)), move) for nth, move in enumerate(moves, 1)]
    return named[::-1]


def _view(alarm: Alarm, vmove: VMove) -> dict[str, Any]:
    move = vmove.move
    return {
        "id": vmove.id,
        "uuid": vmove.uuid,
        "notification_uuid": alarm.uuid,
        "instance_uuid": move.server,
        "instance_name": move.name,
        "source_host": move.source,
        "dest_host": move.destination,
        "start_time": move.begun_at,
        "end_time": move.ended_at,
        "type": TYPE,
        "status": move.state,
        "message": move.message,
        **times(move.created_at, move.ended_at or move.begun_at),
    }


async def index(call: Call) -> Reply:
    call.demand(f"{RULE}index")

    def work(tx: Tx) -> tuple[Alarm, list[VMove]]:
        alarm = find_alarm(call, tx)
        if alarm.kind is not AlarmKind.HOST:
            raise Invalid(f"Notification {alarm.uuid} is of type {alarm.kind}: only those about hosts have vmoves.")
        return alarm, _vmoves(tx, alarm)

    alarm, found = await call.cloud.database.read(work)
    found = with_value(call, found, "status", lambda each: each.move.state)
    found = with_value(call, found, "type", lambda _: TYPE)
    return Reply(200, {"vmoves": [_view(alarm, each) for each in page(call, found, _VALUES)]})


async def show(call: Call) -> Reply:
    call.demand(f"{RULE}detail")
    wanted = call.path["vmove"]

    def work(tx: Tx) -> dict[str, Any]:
        alarm = find_alarm(call, tx)
        for each in _vmoves(tx, alarm):
            if is_uuid(wanted) and each.uuid == canonical(wanted):
                return _view(alarm, each)
        raise NotFound(f"No VM move with id {wanted}.")

    return Reply(200, {"vmove": await call.cloud.database.read(work)})


_VALUES = {
    "id": lambda each: each.id,
    "uuid": lambda each: each.uuid,
    "created_at": lambda each: each.move.created_at,
    "updated_at": lambda each: each.move.ended_at or each.move.begun_at,
    "type": lambda _: TYPE,
    "status": lambda each: each.move.state,
    "start_time": lambda each: each.move.begun_at,
    "end_time": lambda each: each.move.ended_at,
}

ROUTES = [
    Route("GET", "/notifications/{notification}/vmoves", index, since=VMOVES),
    Route("GET", "/notifications/{notification}/vmoves/{vmove}", show, since=VMOVES),
]
