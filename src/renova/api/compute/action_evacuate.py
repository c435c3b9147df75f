"""evacuate: an administrator has the server of a dead host made again on another one."""

from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from renova.api.compute.action import Action, Value, read_value
from renova.api.compute.fields import Body, HostName, Truth, given, is_true
from renova.api.compute.passwords import new_password
from renova.api.compute.visible import asked, find_server
from renova.api.http import Call, Reply, Version
from renova.model.errors import Invalid
from renova.operations.evacuate import Evacuation, accept_evacuate

POLICY = {"os_compute_api:os-evacuate": "rule:admin_api"}

_SHARED_STORAGE_UNTIL: Version = (2, 13)
_FORCED_UNTIL: Version = (2, 28)  # a host that was named was taken without asking the scheduler
_END_STOPPED_SINCE: Version = (2, 95)


class WantedEvacuation(Body):
    """Where to, and how."""

    SINCE: ClassVar[dict[str, Version]] = {"force": (2, 29)}
    UNTIL: ClassVar[dict[str, Version]] = {"on_shared_storage": _SHARED_STORAGE_UNTIL, "force": (2, 67)}

    host: HostName | UnsetType = UNSET
    admin_pass: str | UnsetType = msgspec.field(default=UNSET, name="adminPass")
    on_shared_storage: Truth | UnsetType = msgspec.field(default=UNSET, name="onSharedStorage")
    force: Truth | UnsetType = UNSET


async def evacuate(call: Call, value: Value) -> Reply:
    wanted = read_value(call, "evacuate", value, WantedEvacuation)
    shared = _on_shared_storage(call, wanted)
    force = wanted.force is not UNSET and is_true(wanted.force)
    server = await find_server(call, "os_compute_api:os-evacuate")
    host = given(wanted.host, None)
    if force and host is None:
        raise Invalid("Can't force to a non-provided destination")
    # On shared storage an old client keeps the disk with the password in it; a new one would not be set.
    if shared and isinstance(wanted.admin_pass, str):
        raise Invalid("admin password can't be changed on existing disk: leave adminPass, or say onSharedStorage false")
    admin_pass = None if shared else given(wanted.admin_pass, "") or new_password(call.cloud.chance)
    evacuation = Evacuation(
        host=host,
        forced=host is not None and (force or call.version <= _FORCED_UNTIL),
        admin_pass=admin_pass,
        on_shared_storage=shared,
        end_stopped=call.version >= _END_STOPPED_SINCE,
    )
    if server.host is not None and not call.cloud.hosts.up(server.host):
        # It takes a second or two, and would come by itself a moment later: who asks now shall not be refused for that.
        await call.cloud.hosts.seek_proof(server.host)
    await call.cloud.database.transact(lambda tx: accept_evacuate(call.cloud, tx, asked(call), server.id, evacuation))
    return Reply(200, {"adminPass": admin_pass} if call.version <= _SHARED_STORAGE_UNTIL else None)


def _on_shared_storage(call: Call, wanted: WantedEvacuation) -> bool | None:
    """Return what an old client says of the disks; None lets the hosts find out."""
    if call.version > _SHARED_STORAGE_UNTIL:
        return None
    if wanted.on_shared_storage is UNSET:
        raise Invalid("Invalid input for evacuate: Object missing required field `onSharedStorage`")
    return is_true(wanted.on_shared_storage)


ACTIONS = {"evacuate": Action(evacuate)}
