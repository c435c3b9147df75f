"""Server groups: servers of a project that are to be together, or apart. Deleting a group leaves its servers alone."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from renova.api.compute import paging
from renova.api.compute.fields import Body, Count, Name, count, given, read
from renova.api.compute.quota import demand_group_within
from renova.api.compute.route import known, route
from renova.api.http import Call, Reply, Version
from renova.model.errors import Invalid, NotFound
from renova.model.group import GroupPolicy, ServerGroup
from renova.model.ids import GroupId, ServerId
from renova.store import server_groups as store
from renova.store.database import Tx

POLICY = {
    "os_compute_api:os-server-groups:index": "rule:project_reader_or_admin",
    "os_compute_api:os-server-groups:index:all_projects": "rule:admin_api",
    "os_compute_api:os-server-groups:show": "rule:project_reader_or_admin",
    "os_compute_api:os-server-groups:create": "rule:project_member_or_admin",
    "os_compute_api:os-server-groups:delete": "rule:project_member_or_admin",
}

_SOFT_SINCE: Version = (2, 15)
_ONE_POLICY_SINCE: Version = (2, 64)  # with rules; before, a list of one

PolicyName = Literal["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"]


class Rules(Body):
    """What tunes the policy."""

    max_server_per_host: Count | UnsetType = UNSET


class WantedGroup(Body):
    """The group asked for."""

    SINCE: ClassVar[dict[str, Version]] = {"policy": _ONE_POLICY_SINCE, "rules": _ONE_POLICY_SINCE}
    UNTIL: ClassVar[dict[str, Version]] = {"policies": (2, 63)}

    name: Name
    policies: Annotated[list[PolicyName], Meta(min_length=1, max_length=1)] | UnsetType = UNSET
    policy: PolicyName | UnsetType = UNSET
    rules: Rules | UnsetType = UNSET


class CreateGroup(Body):
    """The body of POST /os-server-groups."""

    server_group: WantedGroup


async def index(call: Call) -> Reply:
    call.demand("os_compute_api:os-server-groups:index")
    project = call.caller.project
    everybody = call.one("all_projects") is not None and call.allows("context_is_admin")
    if everybody:
        call.demand("os_compute_api:os-server-groups:index:all_projects")
    offset, limit = _offset(call), paging.limit(call) or paging.MOST  # 0 is no limit for groups alone, as in Nova

    def work(tx: Tx) -> list[dict[str, Any]]:
        groups = store.page(tx, None if everybody else project, offset, limit)
        members = store.members(tx, [group.id for group in groups])
        return [_view(call, group, members[group.id]) for group in groups]

    return Reply(200, {"server_groups": await call.cloud.database.read(work)})


def _offset(call: Call) -> int:
    text = call.one("offset") or "0"
    if not text.isdecimal() or len(text) > 10:
        raise Invalid(
            f"Invalid input for query parameters offset. Value: {text}. It must be a whole number, 0 or more."
        )
    return int(text)


async def show(call: Call) -> Reply:
    def work(tx: Tx) -> dict[str, Any]:
        group = _find(call, tx, "os_compute_api:os-server-groups:show")
        return _view(call, group, store.members(tx, [group.id])[group.id])

    return Reply(200, {"server_group": await call.cloud.database.read(work)})


async def create(call: Call) -> Reply:
    call.demand("os_compute_api:os-server-groups:create")
    wanted = read(call, CreateGroup).server_group
    policy = _policy(call, wanted)
    group = ServerGroup(
        id=GroupId(call.cloud.chance.uuid()),
        project=call.caller.project,
        user=call.caller.user,
        name=wanted.name,
        policy=policy,
        max_server_per_host=_most(wanted, policy),
    )

    def work(tx: Tx) -> None:
        demand_group_within(tx, group.project)
        store.add(tx, group)

    await call.cloud.database.transact(work)
    return Reply(200, {"server_group": _view(call, group, [])})


def _policy(call: Call, wanted: WantedGroup) -> GroupPolicy:
    if call.version >= _ONE_POLICY_SINCE:
        if wanted.policy is UNSET:
            raise Invalid("Invalid input: Object missing required field `policy` - at `$.server_group`")
        return GroupPolicy(wanted.policy)
    if wanted.policies is UNSET:
        raise Invalid("Invalid input: Object missing required field `policies` - at `$.server_group`")
    (policy,) = (GroupPolicy(name) for name in wanted.policies)
    if call.version < _SOFT_SINCE and policy in (GroupPolicy.SOFT_AFFINITY, GroupPolicy.SOFT_ANTI_AFFINITY):
        raise Invalid(
            f"Invalid input for field/attribute policies. Value: {policy}. "
            f"Before microversion 2.15 it must be affinity or anti-affinity."
        )
    return policy


def _most(wanted: WantedGroup, policy: GroupPolicy) -> int | None:
    """Return how many servers of the group a host may have, where that is said."""
    rules = given(wanted.rules, None)
    if rules is None or rules.max_server_per_host is UNSET:
        return None
    if policy is not GroupPolicy.ANTI_AFFINITY:
        raise Invalid("Only anti-affinity policy supports rules.")
    return count(rules.max_server_per_host, "max_server_per_host")


async def delete(call: Call) -> Reply:
    def work(tx: Tx) -> None:
        group = _find(call, tx, "os_compute_api:os-server-groups:delete")
        store.remove(tx, group.id)

    await call.cloud.database.transact(work)
    return Reply(204)


def _find(call: Call, tx: Tx, rule: str) -> ServerGroup:
    group = store.get(tx, GroupId(call.path["group"].lower()))
    if group is None or (group.project != call.caller.project and not call.allows("context_is_admin")):
        raise NotFound(f"Instance group {call.path['group']} could not be found.")
    call.demand(rule, {"project_id": group.project, "user_id": group.user})
    return group


def _view(call: Call, group: ServerGroup, members: Sequence[ServerId]) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": group.id, "name": group.name, "members": members}
    if call.version >= (2, 13):
        shown |= {"project_id": group.project, "user_id": group.user}
    if call.version >= _ONE_POLICY_SINCE:
        most = group.max_server_per_host
        return shown | {"policy": group.policy, "rules": {} if most is None else {"max_server_per_host": most}}
    return shown | {"policies": [group.policy], "metadata": {}}


ROUTES = [
    route("GET", "/os-server-groups", index, query=known("all_projects", "limit", "offset")),
    route("POST", "/os-server-groups", create),
    route("GET", "/os-server-groups/{group}", show),
    route("DELETE", "/os-server-groups/{group}", delete),
]
