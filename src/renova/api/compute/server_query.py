"""What a list of servers is asked for: its query turned into conditions, an order and a place to start.

Conditions on columns are for the database; what is kept in documents (flavor, addresses, tags) and the text filters
are tested here, on what the database found.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any

from renova.api.compute import paging, times
from renova.api.compute.fields import truth
from renova.api.compute.route import PAGING, known
from renova.api.compute.server_status import States, states
from renova.api.compute.text_filter import text_filter
from renova.api.http import Call
from renova.model.errors import Forbidden, Invalid
from renova.model.ids import ServerId
from renova.model.server import Server, VmState
from renova.store import servers as store
from renova.store.database import Tx
from renova.store.paging import Sort, after

Test = Callable[[Server], bool]
_columns = store.servers.c

# Columns that a filter compares whole: parameter, column.
_EXACT = {
    "uuid": "id",
    "user_id": "user",
    "image": "image",
    "image_ref": "image",
    "task_state": "task_state",
    "availability_zone": "availability_zone",
    "host": "host_name",
    "node": "host_name",
    "reservation_id": "reservation",
}

# What text filters look at.
_TEXTS: dict[str, Callable[[Server], str | None]] = {
    "name": lambda server: server.name,
    "display_name": lambda server: server.name,
    "description": lambda server: server.description,
    "display_description": lambda server: server.description,
    "hostname": lambda server: server.hostname,
    "key_name": lambda server: server.key.name if server.key else None,
    "access_ip_v4": lambda server: server.access_ipv4,
    "access_ip_v6": lambda server: server.access_ipv6,
    "config_drive": lambda server: server.config_drive,
    "locked_by": lambda server: server.locked_by,
    "created_at": lambda server: server.created_at,
    "launched_at": lambda server: server.launched_at,
    "terminated_at": lambda server: server.terminated_at,
}

_SORT_KEYS = {
    "access_ip_v4": "access_ipv4",
    "access_ip_v6": "access_ipv6",
    "auto_disk_config": "disk_config",
    "availability_zone": "availability_zone",
    "config_drive": "config_drive",
    "created_at": "created_at",
    "display_description": "description",
    "display_name": "name",
    "host": "host_name",
    "hostname": "hostname",
    "image_ref": "image",
    "launched_at": "launched_at",
    "locked_by": "locked_by",
    "locked": "locked_by",
    "node": "host_name",
    "power_state": "power_state",
    "progress": "progress",
    "project_id": "project",
    "task_state": "task_state",
    "terminated_at": "terminated_at",
    "updated_at": "updated_at",
    "user_id": "user",
    "uuid": "id",
    "vm_state": "vm_state",
}
# The same for every server here, or kept where the database cannot sort by it: they do not change the order.
_NO_SORT = frozenset({"instance_type_id", "kernel_id", "ramdisk_id", "key_name", "launch_index", "root_device_name"})
# Taken as sort keys by old microversions, and never of effect.
_OLD_SORT_KEYS = frozenset(
    {"architecture", "cell_name", "cleaned", "default_ephemeral_device", "default_swap_device", "deleted"}
    | {"deleted_at", "disable_terminate", "ephemeral_gb", "ephemeral_key_uuid", "id", "key_data", "launched_on"}
    | {"memory_mb", "os_type", "reservation_id", "root_gb", "shutdown_terminate", "user_data", "vcpus", "vm_mode"}
)

_FOR_ALL = frozenset(
    {"reservation_id", "name", "status", "image", "flavor", "ip", "changes-since", "all_tenants", "ip6"}
    | {"tags", "tags-any", "not-tags", "not-tags-any", "changes-before", "locked"}
    | {"limit", "marker", "sort_key", "sort_dir"}
)
_FOR_ALL_SINCE_2_83 = frozenset(
    {"availability_zone", "config_drive", "key_name", "created_at", "launched_at", "terminated_at"}
    | {"power_state", "task_state", "vm_state", "progress", "user_id"}
)

PARAMETERS = {
    **PAGING,
    **known(*_EXACT, *_TEXTS, "flavor", "ip", "ip6", "status", "vm_state", "power_state", "progress"),
    **known("all_tenants", "project_id", "tenant_id", "deleted", "soft_deleted", "sort_key", "sort_dir"),
    **known("changes-since"),
    **known("tags", "tags-any", "not-tags", "not-tags-any", since=(2, 26)),
    **known("changes-before", since=(2, 66)),
    **known("locked", since=(2, 73)),
}

POLICY = {"os_compute_api:servers:allow_all_filters": "rule:admin_api"}


@dataclass
class ServerQuery:
    """What a list is to have; `tests` are for what the database cannot tell."""

    limit: int
    marker: ServerId | None
    order: list[Sort]
    where: list[Any] = field(default_factory=list)
    tests: list[Test] = field(default_factory=list)
    projects: frozenset[str] | None = None  # whose servers are listed; None: everybody's
    nothing: bool = False  # no server can fit

    def page(self, tx: Tx) -> list[Server]:
        """Return the servers of the page. `Invalid` when the marker is no server of whose are listed.

        Where a page begins tells how the marker sorts among one's own: by its name, its state, or whatever is asked.
        """
        last = None
        if self.marker is not None:
            last = store.get(tx, self.marker, deleted=True)
            if last is None or not (self.projects is None or last.project in self.projects):
                raise paging.unknown_marker(self.marker)
        found: list[Server] = []
        while not self.nothing and (missing := self.limit - len(found)) > 0:
            # More than is missing where some of it will not fit: fewer turns.
            amount = paging.MOST if self.tests else missing
            beyond = [after(self.order, _values(last))] if last else []
            batch = store.find(tx, [*self.where, *beyond], [by.clause for by in self.order], amount)
            found += [server for server in batch if all(test(server) for test in self.tests)][:missing]
            if len(batch) < amount:
                break
            last = batch[-1]
        return found


def _values(server: Server) -> dict[str, Any]:
    return {name: getattr(server, name) for name in server.__struct_fields__}


def server_query(call: Call, list_rule: str) -> ServerQuery:
    """Return what the request asks for, as far as the caller may. `Invalid`, `Forbidden`."""
    filters = _filters(call)
    query = ServerQuery(paging.limit(call), _marker(call), _order(call))
    _projects(call, filters, list_rule, query)
    _states(call, filters, query)
    _times(filters, query)
    for name, column in _EXACT.items():
        if name in filters:
            query.where.append(_columns[column].in_(filters[name]))
    for name in ("power_state", "progress"):
        if name in filters:
            query.where.append(_columns[name].in_([_number(text, name) for text in filters[name]]))
    for name, text_of in _TEXTS.items():
        if name in filters:
            query.tests.append(_text_test(filters[name][-1], text_of))
    _others(filters, query)
    return query


def _filters(call: Call) -> dict[str, list[str]]:
    """Return the filters that the caller may use; others are dropped, as Nova does."""
    found: dict[str, list[str]] = {}
    for name, value in call.query:
        found.setdefault(name, []).append(value)
    if call.allows("os_compute_api:servers:allow_all_filters"):
        return found
    allowed = _FOR_ALL | _FOR_ALL_SINCE_2_83 if call.version >= (2, 83) else _FOR_ALL
    return {name: values for name, values in found.items() if name in allowed}


def _marker(call: Call) -> ServerId | None:
    text = call.one("marker")
    return None if text is None else ServerId(text)


def _order(call: Call) -> list[Sort]:
    keys = [value for name, value in call.query if name == "sort_key"] or ["created_at"]
    directions = [value for name, value in call.query if name == "sort_dir"]
    if not set(directions) <= {"asc", "desc"}:
        raise Invalid("Unknown sort direction, must be 'desc' or 'asc'.")
    if len(directions) > len(keys):
        raise Invalid("Sort direction array has more entries than the sort key array.")
    default = directions[0] if directions else "desc"
    order = []
    for place, key in enumerate(keys):
        if key in ("host", "node") and not call.allows("os_compute_api:servers:allow_all_filters"):
            raise Forbidden(f"Only administrators can sort servers by {key}")
        known_key = key in _SORT_KEYS and (key != "locked" or call.version >= (2, 73))
        if known_key:
            descending = (directions[place] if place < len(directions) else default) == "desc"
            order.append(Sort(_columns[_SORT_KEYS[key]], descending))
        elif key not in _NO_SORT and not (key in {*_OLD_SORT_KEYS, "locked"} and call.version < (2, 75)):
            raise Invalid(f"Invalid input for query parameters sort_key. Value: {key}.")
    return [*order, Sort(_columns.serial, default == "desc")]


def _projects(call: Call, filters: dict[str, list[str]], list_rule: str, query: ServerQuery) -> None:
    text = filters.get("all_tenants", ["False"])[-1]
    if text == "" or truth(text, "all_tenants"):
        call.demand(f"{list_rule}:get_all_tenants")
        wanted = filters.get("project_id") or filters.get("tenant_id")
        if wanted:
            query.projects = frozenset(wanted)
            query.where.append(_columns.project.in_(wanted))
    else:
        # A project asked for counts only together with all_tenants.
        query.projects = frozenset({call.caller.project})
        query.where.append(_columns.project == call.caller.project)


def _states(call: Call, filters: dict[str, list[str]], query: ServerQuery) -> None:
    deleted: bool | None = False
    if "changes-since" in filters:
        deleted = None  # who follows changes wants to hear of deletions
    if "deleted" in filters:
        deleted = truth(filters["deleted"][-1], "deleted")
    if "soft_deleted" in filters and truth(filters["soft_deleted"][-1], "soft_deleted"):
        query.nothing = True
    if "status" in filters:
        found: list[States] = []
        for text in filters["status"]:
            some = states(text)
            if some is None and call.version >= (2, 38):
                raise Invalid(f"Invalid filter field: status. '{text}' is no status.")
            found += some or []
        query.nothing |= not found
        if found:
            query.where.append(reduce(or_, [_condition(each) for each in found]))
        if any(each.vm_state is VmState.DELETED for each in found):
            if not call.allows("context_is_admin"):
                raise Forbidden("Only administrators may list deleted instances")
            deleted = True
    if "vm_state" in filters:
        query.where.append(_columns.vm_state.in_(filters["vm_state"]))
    if deleted is not None:
        query.where.append(_columns.deleted.is_(deleted))


def _condition(wanted: States) -> Any:
    here = _columns.vm_state == wanted.vm_state.value
    if not wanted.others:
        return here & _columns.task_state.in_(sorted(wanted.tasks))
    return here & (_columns.task_state.is_(None) | _columns.task_state.not_in(sorted(wanted.tasks)))


def _times(filters: dict[str, list[str]], query: ServerQuery) -> None:
    since = before = None
    if "changes-since" in filters:
        since = times.read(filters["changes-since"][-1], "changes-since")
        query.where.append(_columns.updated_at >= since)
    if "changes-before" in filters:
        before = times.read(filters["changes-before"][-1], "changes-before")
        query.where.append(_columns.updated_at <= before)
    if since and before and since > before:
        raise Invalid("The value of changes-since must be less than or equal to changes-before.")


def _others(filters: dict[str, list[str]], query: ServerQuery) -> None:
    if "flavor" in filters:
        flavors = set(filters["flavor"])
        query.tests.append(lambda server: server.flavor.id in flavors)
    for name, sign in (("ip", "."), ("ip6", ":")):
        if name in filters:
            query.tests.append(_address_test(filters[name][-1], sign))
    if "locked" in filters:
        locked = truth(filters["locked"][-1], "locked")
        query.tests.append(lambda server: (server.locked_by is not None) is locked)
    for name, test in _TAG_TESTS.items():
        if name in filters:
            query.tests.append(_tag_test(set(filters[name][-1].split(",")), test))


def _text_test(pattern: str, text_of: Callable[[Server], str | None]) -> Test:
    fits = text_filter(pattern)

    def test(server: Server) -> bool:
        text = text_of(server)
        return text is not None and fits(text)

    return test


def _address_test(pattern: str, sign: str) -> Test:
    fits = text_filter(pattern)

    def test(server: Server) -> bool:
        return any(
            sign in address.ip and fits(address.ip) for network in server.networks for address in network.addresses
        )

    return test


_TAG_TESTS: dict[str, Callable[[set[str], set[str]], bool]] = {
    "tags": lambda wanted, has: wanted <= has,
    "tags-any": lambda wanted, has: bool(wanted & has),
    "not-tags": lambda wanted, has: not wanted <= has,
    "not-tags-any": lambda wanted, has: not wanted & has,
}


def _tag_test(wanted: set[str], test: Callable[[set[str], set[str]], bool]) -> Test:
    return lambda server: test(wanted, set(server.tags))


def _number(text: str, name: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise Invalid(f"Invalid input for query parameters {name}. Value: {text}. It must be a whole number.")
    return int(text)
