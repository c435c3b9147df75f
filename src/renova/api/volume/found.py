"""Which volume, snapshot or attachment a request is about; who may not see it is told that there is none."""

from typing import Any

import msgspec

from renova.api.http import Call
from renova.api.volume.paging import is_true
from renova.model.errors import Invalid, NotFound
from renova.model.ids import ProjectId
from renova.partners.volume.builtin import BuiltinVolumes
from renova.store import volume_attachments, volume_snapshots, volumes
from renova.store.database import Tx
from renova.store.volume_attachments import StoredAttachment
from renova.store.volume_snapshots import StoredSnapshot
from renova.store.volumes import StoredVolume

Pairs = dict[str, str]
MOST_PAIRS = 128


def built_in(call: Call) -> BuiltinVolumes:
    found = call.cloud.volumes
    assert isinstance(found, BuiltinVolumes), "these routes are served only where volumes are built in"
    return found


def owner(row: StoredVolume | StoredSnapshot | StoredAttachment) -> dict[str, str | None]:
    return {"project_id": row.project}


def seen_project(call: Call) -> ProjectId | None:
    """Return whose things a list shows: the caller's project's, or for an administrator who asks so, everybody's."""
    every = is_true(call.one("all_tenants") or call.one("all_projects"))
    if not call.allows("context_is_admin"):
        return call.caller.project
    if project := call.one("project_id"):
        return ProjectId(project)
    return None if every else call.caller.project


def volume_of(call: Call, tx: Tx, rule: str = "volume:get") -> StoredVolume:
    """Return the volume that the path names; `NotFound` for whoever may not see it, `Forbidden` by the rule."""
    found = volumes.volume(tx, call.path["volume"])
    if found is None or not call.allows("volume:get", owner(found)):
        raise NotFound(f"Volume {call.path['volume']} could not be found.")
    call.demand(rule, owner(found))
    return found


def snapshot_of(call: Call, tx: Tx, rule: str = "volume:get_snapshot") -> StoredSnapshot:
    found = volume_snapshots.snapshot(tx, call.path["snapshot"])
    if found is None or not call.allows("volume:get_snapshot", owner(found)):
        raise NotFound(f"Snapshot {call.path['snapshot']} could not be found.")
    call.demand(rule, owner(found))
    return found


def attachment_of(call: Call, tx: Tx, rule: str) -> StoredAttachment:
    found = volume_attachments.attachment(tx, call.path["attachment"])
    if found is None or (found.project != call.caller.project and not call.allows("context_is_admin")):
        raise NotFound(f"Volume attachment {call.path['attachment']} could not be found.")
    call.demand(rule, owner(found))
    return found


def demand_pairs(pairs: Pairs) -> Pairs:
    """Return the metadata if it is fit to be kept."""
    for key, value in pairs.items():
        if not key or len(key) > 255 or len(value) > 255:
            raise Invalid("Metadata property key blank or greater than 255 characters, or its value is.")
    if len(pairs) > MOST_PAIRS:
        raise Invalid(f"Quota exceeded, too many metadata items: {len(pairs)}, of {MOST_PAIRS} at most.")
    return pairs


def wrapped(call: Call, name: str, kind: type[Any]) -> Any:
    """Return what the body holds under this one name, as the given type."""
    body = call.json(dict[str, msgspec.Raw], lax=False)
    if name not in body:
        raise Invalid(f"Invalid input: '{name}' is a required property")
    try:
        return msgspec.convert(msgspec.json.decode(body[name]), kind, strict=False)
    except msgspec.MsgspecError as error:
        raise Invalid(f"Invalid input for {name}: {error}") from error
