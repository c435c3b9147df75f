"""POST /servers/{id}/action: finds the action by its name."""

import msgspec

from renova.api.compute import (
    action_console,
    action_create_image,
    action_evacuate,
    action_force_delete,
    action_lock,
    action_migrate,
    action_migrate_live,
    action_missing,
    action_pause,
    action_power,
    action_rebuild,
    action_reset_state,
    action_suspend,
)
from renova.api.compute.action import Action
from renova.api.compute.route import route
from renova.api.dispatch import Failure
from renova.api.http import Call, Reply
from renova.model.errors import Invalid, NotFound

ACTIONS: dict[str, Action] = {
    **action_power.ACTIONS,
    **action_rebuild.ACTIONS,
    **action_evacuate.ACTIONS,
    **action_migrate.ACTIONS,
    **action_migrate_live.ACTIONS,
    **action_lock.ACTIONS,
    **action_pause.ACTIONS,
    **action_suspend.ACTIONS,
    **action_reset_state.ACTIONS,
    **action_console.ACTIONS,
    **action_create_image.ACTIONS,
    **action_force_delete.ACTIONS,
    **action_missing.ACTIONS,
}

_REMOVED = frozenset({"resetNetwork"})

POLICY = {
    **action_power.POLICY,
    **action_rebuild.POLICY,
    **action_evacuate.POLICY,
    **action_migrate.POLICY,
    **action_migrate_live.POLICY,
    **action_lock.POLICY,
    **action_pause.POLICY,
    **action_suspend.POLICY,
    **action_reset_state.POLICY,
    **action_console.POLICY,
    **action_create_image.POLICY,
    **action_force_delete.POLICY,
    **action_missing.POLICY,
}


async def act(call: Call) -> Reply:
    body = call.json(dict[str, msgspec.Raw])
    if len(body) != 1:
        raise Invalid(f"Exactly one action is expected, not {len(body)}: {', '.join(sorted(body))}")
    ((name, value),) = body.items()
    action = ACTIONS.get(name)
    if action is None:
        if name in _REMOVED:
            raise Failure(410, f"The action {name} was removed.")
        raise Invalid(f"There is no such action: {name}")
    if not action.since <= call.version <= action.until:
        raise NotFound(f"The action {name} is not there in this microversion.")
    return await action.run(call, value)


ROUTES = [route("POST", "/servers/{server}/action", act)]
