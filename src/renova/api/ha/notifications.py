"""Notifications: what monitors say has failed, and what came of it. Here they are alarms (`ha.alarms`)."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from renova.api.compute import times as written
from renova.api.compute.fields import Body, HostName, Uuid, canonical, is_uuid, read
from renova.api.ha.lists import page, with_value
from renova.api.ha.segments import times
from renova.api.ha.versions import WORKFLOWS
from renova.api.http import Call, Reply, Route
from renova.ha.alarms import raise_alarm
from renova.model.alarm import OPEN, Alarm, AlarmKind, AlarmStatus, Told
from renova.model.errors import Invalid, NotFound
from renova.store import alarms
from renova.store.database import Tx

RULE = "os_masakari_api:notifications:"
POLICY = {f"{RULE}{action}": "rule:admin_api" for action in ("index", "detail", "create")}

Said = Annotated[str, Meta(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
Word = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
Event = Literal["STARTED", "STOPPED"]


class HostPayload(Body):
    """What is said of a host."""

    event: Event
    cluster_status: Literal["ONLINE", "OFFLINE"] | msgspec.UnsetType = msgspec.UNSET
    host_status: Literal["NORMAL", "UNKNOWN"] | msgspec.UnsetType = msgspec.UNSET


class ProcessPayload(Body):
    """What is said of a process on a host."""

    event: Event
    process_name: Word


class ServerPayload(Body):
    """What is said of a server's guest, in libvirt's words."""

    event: Word
    vir_domain_event: Word
    instance_uuid: Uuid


class NewNotification(Body):
    """What somebody says has failed; what its payload may hold depends on its type."""

    type: AlarmKind
    hostname: HostName
    generated_time: Word
    payload: dict[Annotated[str, Meta(pattern=r"^[a-zA-Z0-9\-_:. ]{1,255}\Z")], Said]


class CreateNotification(Body):
    """The body of POST /notifications."""

    notification: NewNotification


_PAYLOADS: dict[AlarmKind, type[Body]] = {
    AlarmKind.HOST: HostPayload,
    AlarmKind.PROCESS: ProcessPayload,
    AlarmKind.SERVER: ServerPayload,
}


def _view(alarm: Alarm) -> dict[str, Any]:
    return {
        "id": alarm.id,
        "notification_uuid": alarm.uuid,
        "type": alarm.kind,
        "source_host_uuid": alarm.segment_host,
        "generated_time": alarm.generated_at,
        "payload": alarm.payload,
        "status": alarm.status,
        **times(alarm.created_at, alarm.updated_at),
    }


def _workflow(alarm: Alarm) -> list[dict[str, Any]]:
    """Return what was done, a task each, as Masakari's workflows are shown."""
    tasks: dict[str, list[Told]] = {}
    for each in alarm.told:
        tasks.setdefault(each.task, []).append(each)
    last = alarm.told[-1].task if alarm.told else None
    return [_task(name, told, _state(alarm) if name == last else "SUCCESS") for name, told in tasks.items()]


def _state(alarm: Alarm) -> str:
    if alarm.status in (AlarmStatus.ERROR, AlarmStatus.FAILED):
        return "FAILURE"
    return "RUNNING" if alarm.status in OPEN else "SUCCESS"


def _task(name: str, told: Sequence[Told], state: str) -> dict[str, Any]:
    done = 1.0 if state == "SUCCESS" else 0.0
    details = [{"timestamp": each.at, "progress": 0.0, "message": each.message} for each in told]
    details[-1]["progress"] = done
    return {"name": name, "state": state, "progress": done, "progress_details": details}


async def index(call: Call) -> Reply:
    call.demand(f"{RULE}index")
    since = call.one("generated-since")
    from_then_on = written.read(since, "generated-since") if since is not None else ""
    found = await call.cloud.database.read(alarms.every)
    found = [each for each in found if each.generated_at >= from_then_on]
    found = with_value(call, found, "status", lambda each: each.status)
    found = with_value(call, found, "source_host_uuid", lambda each: each.segment_host)
    found = with_value(call, found, "type", lambda each: each.kind)
    return Reply(200, {"notifications": [_view(each) for each in page(call, found, _VALUES)]})


async def show(call: Call) -> Reply:
    call.demand(f"{RULE}detail")
    alarm = await call.cloud.database.read(lambda tx: find_alarm(call, tx))
    shown = _view(alarm)
    if call.version >= WORKFLOWS:
        shown["recovery_workflow_details"] = _workflow(alarm)
    return Reply(200, {"notification": shown})


def find_alarm(call: Call, tx: Tx) -> Alarm:
    """Return the notification that the path names by its uuid."""
    wanted = call.path["notification"]
    found = alarms.get(tx, canonical(wanted)) if is_uuid(wanted) else None
    if found is None:
        raise NotFound(f"No notification with id {wanted}.")
    return found


async def create(call: Call) -> Reply:
    """Take down what somebody says has failed; it is heeded at once, and never believed without a proof."""
    call.demand(f"{RULE}create")
    wanted = read(call, CreateNotification).notification
    try:
        msgspec.convert(wanted.payload, _PAYLOADS[wanted.type])
    except msgspec.ValidationError as error:
        raise Invalid(f"Invalid input for payload of a notification of type {wanted.type}: {error}") from error
    generated_at = written.read(wanted.generated_time, "generated_time")
    if generated_at < "1970":
        raise Invalid("Invalid input for generated_time: it is before 1970.")

    def work(tx: Tx) -> Alarm:
        return raise_alarm(
            call.cloud,
            tx,
            kind=wanted.type,
            host_name=wanted.hostname,
            generated_at=generated_at,
            payload=wanted.payload,
            who=call.caller.user_name,
        )

    return Reply(202, {"notification": _view(await call.cloud.database.transact(work))})


_FIELDS = {
    "created_at": "created_at",
    "type": "kind",
    "generated_time": "generated_at",
    "updated_at": "updated_at",
    "uuid": "uuid",
    "payload": "payload",
    "status": "status",
    "source_host_uuid": "segment_host",
    "id": "id",
}
_VALUES = {key: lambda each, field=field: getattr(each, field) for key, field in _FIELDS.items()}

ROUTES = [
    Route("GET", "/notifications", index),
    Route("POST", "/notifications", create),
    Route("GET", "/notifications/{notification}", show),
]
