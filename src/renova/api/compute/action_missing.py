"""Nova's actions that this cloud does not have yet: refused as Nova refuses what its hypervisor driver lacks.

Whoever may not do it, or may not do it in this state, hears that first (403, 409), as everywhere. Then 501, for the
actions that Nova answers so; where it never does, 400. Those that only follow another missing one (`unrescue`,
`confirmResize`, `unshelve`) find no server in a state that allows them.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from renova.api.compute.action import Action, Value
from renova.api.compute.versions import NEWEST, OLDEST
from renova.api.compute.visible import asked, find_server
from renova.api.dispatch import Failure
from renova.api.http import Call, Reply, Version
from renova.operations.parts.permits import permitted

_MEMBER = "rule:project_member_or_admin"
_ADMIN = "rule:admin_api"
_CONSOLES = "os_compute_api:os-remote-consoles"


@dataclass(frozen=True, slots=True)
class Missing:
    """How a missing action is refused. `permit`: its row in the table of states, if it has one."""

    rule: str
    default: str = _MEMBER
    permit: str = ""
    status: int = 400
    since: Version = OLDEST
    until: Version = NEWEST


_FIXED_IPS_UNTIL: Version = (2, 43)
_CONSOLE_ACTIONS_UNTIL: Version = (2, 5)

MISSING = {
    "rescue": Missing("os_compute_api:os-rescue", permit="rescue", status=501),
    "unrescue": Missing("os_compute_api:os-unrescue", permit="unrescue", status=501),
    "changePassword": Missing("os_compute_api:os-admin-password", permit="changePassword", status=501),
    "trigger_crash_dump": Missing(
        "os_compute_api:servers:trigger_crash_dump", permit="trigger_crash_dump", since=(2, 17)
    ),
    "resize": Missing("os_compute_api:servers:resize", permit="resize"),
    "confirmResize": Missing("os_compute_api:servers:confirm_resize", permit="confirmResize"),
    "revertResize": Missing("os_compute_api:servers:revert_resize", permit="revertResize"),
    "shelve": Missing("os_compute_api:os-shelve:shelve", permit="shelve"),
    "shelveOffload": Missing("os_compute_api:os-shelve:shelve_offload", _ADMIN, permit="shelveOffload"),
    "unshelve": Missing("os_compute_api:os-shelve:unshelve", permit="unshelve"),
    "restore": Missing("os_compute_api:os-deferred-delete:restore", permit="restore"),
    "injectNetworkInfo": Missing("os_compute_api:os-admin-actions:inject_network_info", _ADMIN),
    "addSecurityGroup": Missing("os_compute_api:os-security-groups:add"),
    "removeSecurityGroup": Missing("os_compute_api:os-security-groups:remove"),
    "addFixedIp": Missing("os_compute_api:os-multinic:add", until=_FIXED_IPS_UNTIL),
    "removeFixedIp": Missing("os_compute_api:os-multinic:remove", until=_FIXED_IPS_UNTIL),
    "addFloatingIp": Missing("os_compute_api:os-floating-ips:add", until=_FIXED_IPS_UNTIL),
    "removeFloatingIp": Missing("os_compute_api:os-floating-ips:remove", until=_FIXED_IPS_UNTIL),
    "os-getVNCConsole": Missing(_CONSOLES, status=501, until=_CONSOLE_ACTIONS_UNTIL),
    "os-getSPICEConsole": Missing(_CONSOLES, status=501, until=_CONSOLE_ACTIONS_UNTIL),
    "os-getSerialConsole": Missing(_CONSOLES, status=501, until=_CONSOLE_ACTIONS_UNTIL),
}

POLICY = {missing.rule: missing.default for missing in MISSING.values()}


def _refusing(name: str, missing: Missing) -> Callable[[Call, Value], Awaitable[Reply]]:
    async def refuse(call: Call, _value: Value) -> Reply:
        server = await find_server(call, missing.rule)
        if missing.permit:
            await call.cloud.database.read(lambda tx: permitted(tx, server.id, missing.permit, asked(call)))
        raise Failure(missing.status, f"The action {name} is not supported by this cloud yet.")

    return refuse


ACTIONS = {
    name: Action(_refusing(name, missing), since=missing.since, until=missing.until)
    for name, missing in MISSING.items()
}
