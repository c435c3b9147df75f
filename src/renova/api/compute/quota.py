"""Whether a request stays within the project's quota; asked inside the transaction that takes what it asks for."""

from collections.abc import Mapping

from renova.model.errors import Forbidden
from renova.model.flavor import Flavor
from renova.model.ids import GroupId, ProjectId
from renova.store import quotas, server_groups, servers
from renova.store.database import Tx


def servers_within(tx: Tx, project: ProjectId, flavor: Flavor, least: int, most: int) -> int:
    """Return how many servers, at most `most`, the quota leaves room for. `Forbidden` when fewer than `least`."""
    limits = quotas.of_project(tx, project)
    used = dict(zip(("instances", "cores", "ram"), servers.usage(tx, project), strict=True))
    each = {"instances": 1, "cores": flavor.vcpus, "ram": flavor.memory_mb}
    room = most
    for name, amount in each.items():
        if limits[name] >= 0:
            room = min(room, max(0, limits[name] - used[name]) // amount)
    if room < least:
        asked = {name: amount * least for name, amount in each.items()}
        over = [name for name in sorted(each) if 0 <= limits[name] < used[name] + asked[name]]
        raise Forbidden(_message(over, asked, used, limits))
    return room


def _message(over: list[str], asked: Mapping[str, int], used: Mapping[str, int], limits: Mapping[str, int]) -> str:
    def listed(amounts: Mapping[str, int]) -> str:
        return ", ".join(str(amounts[name]) for name in over)

    names = ", ".join(over)
    return (
        f"Quota exceeded for {names}: Requested {listed(asked)}, "
        f"but already used {listed(used)} of {listed(limits)} {names}"
    )


def demand_metadata_within(tx: Tx, project: ProjectId, items: int) -> None:
    demand_metadata(quotas.of_project(tx, project), items)


def demand_metadata(limits: Mapping[str, int], items: int) -> None:
    most = limits["metadata_items"]
    if 0 <= most < items:
        raise Forbidden(f"Quota exceeded, too many metadata items: {items}, of {most} at most.")


def demand_group_within(tx: Tx, project: ProjectId) -> None:
    """Raise `Forbidden` when the project has as many server groups as it may."""
    most = quotas.of_project(tx, project)["server_groups"]
    if 0 <= most <= server_groups.count(tx, project):
        raise Forbidden("Quota exceeded, too many server groups.")


def demand_members_within(tx: Tx, project: ProjectId, group: GroupId, more: int) -> None:
    """Raise `Forbidden` when the group would have more servers than the project's quota lets one have."""
    most = quotas.of_project(tx, project)["server_group_members"]
    if 0 <= most < len(server_groups.members(tx, [group])[group]) + more:
        raise Forbidden("Quota exceeded, too many servers in group")
