"""What a server needs of a host now: its flavor, image, zone, hints and group, as the claiming transaction finds them.

A request that is made in the transaction that claims sees every member of the server's group where it is then: so
what a group's policy asks holds however many are created and moved at once. It is made anew for each claim and never
kept: what an administrator asked of one move does not bind the next.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from renova.model.group import ServerGroup
from renova.model.ids import HostId, ImageId, ServerId
from renova.model.place import Place
from renova.model.server import Server
from renova.operations.cloud import Cloud
from renova.scheduling.board import Board
from renova.scheduling.capabilities import asked_of_host
from renova.scheduling.company import beside, group_places, hosts_of
from renova.scheduling.request import GroupPlaces, Request
from renova.settings import SchedulerSettings
from renova.store import hosts, server_groups, servers
from renova.store.database import Tx

TRAIT = "trait:"
AGGREGATE_SPECS = "aggregate_instance_extra_specs:"

# Other words for the same (Nova, objects.fields): what images say, and what hosts do.
_ARCHITECTURES = {"amd64": "x86_64", "x64": "x86_64", "i386": "i686", "i486": "i686", "i586": "i686"}
_VM_MODES = {"hv": "hvm", "full": "hvm"}


def needs(
    cloud: Cloud,
    tx: Tx,
    server: Server,
    *,
    leaving: HostId | None = None,
    only: str | None = None,
    forced: bool = False,
    not_on: frozenset[HostId] = frozenset(),
) -> Request:
    """Return what the server needs of its next host, in the transaction that claims that.

    `leaving` is the host that it moves away from: the other members of its group that are still there, or on another
    host that is proven dead, bind it to no host. `only` is the name of the host asked for; `forced` leaves out whether
    that is disabled, or in the server's zone, and nothing else.
    """
    board = cloud.fleet.board(tx)
    group = server_groups.get(tx, server.group) if server.group else None
    near = hinted(tx, server, "same_host")
    return replace(
        lasting_needs(server, board.marks, cloud.settings.scheduler),
        only=only,
        forced=forced,
        not_on=not_on,
        group=_group_places(tx, server, group, leaving, board) if group else None,
        apart_from=hosts_of(hinted(tx, server, "different_host") or []),
        beside=beside(near, _left(tx, near or [], leaving)),
    )


def lasting_needs(server: Server, marks: frozenset[str], settings: SchedulerSettings) -> Request:
    """Return what the server needs wherever other servers are; `marks` are the metadata keys of all aggregates."""
    specs = server.flavor.extra_specs
    of_its_image = of_image(server.image, server.image_properties)
    return Request(
        resources=amounts(server),
        zone=server.pinned_zone,
        traits=traits(specs, "required") | of_its_image.pop("traits"),
        not_traits=traits(specs, "forbidden"),
        capabilities=asked_of_host(specs),
        aggregate_specs={
            key.removeprefix(AGGREGATE_SPECS): asked for key, asked in specs.items() if key.startswith(AGGREGATE_SPECS)
        },
        project=server.project,
        marks=marks,
        settings=settings,
        **of_its_image,
    )


def amounts(server: Server) -> dict[str, int]:
    """Return what the server holds of its host, by resource class: at its claim, and whenever that is looked over."""
    return server.flavor.resources(volume_backed=server.image is None)


def traits(said: Mapping[str, Any], how: str) -> frozenset[str]:
    """Return the traits that a flavor's extra specs, or an image's properties, say are "required" or "forbidden"."""
    return frozenset(key.removeprefix(TRAIT) for key, value in said.items() if key.startswith(TRAIT) and value == how)


def of_image(image: ImageId | None, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request that an image fills; each property may have its old name or its new one."""
    architecture = _said(properties, "hw_architecture", "architecture")
    mode = _said(properties, "hw_vm_mode", "vm_mode")
    return {
        "image": image,
        "image_properties": dict(properties),
        "traits": traits(properties, "required"),
        "architecture": _ARCHITECTURES.get(architecture, architecture) if architecture else None,
        "hypervisor_type": _said(properties, "img_hv_type", "hypervisor_type"),
        "vm_mode": _VM_MODES.get(mode, mode) if mode else None,
    }


def _said(properties: Mapping[str, Any], *names: str) -> str | None:
    return next((str(properties[name]).lower() for name in names if properties.get(name)), None)


def _group_places(tx: Tx, server: Server, group: ServerGroup, leaving: HostId | None, board: Board) -> GroupPlaces:
    others = [place for place in server_groups.places(tx, group.id) if place.server != server.id]
    return group_places(
        group, others, _left(tx, others, leaving), partial(_name, board), partial(_together, tx, server)
    )


def _name(board: Board, host: HostId) -> str:
    view = board.view(host)
    return view.name if view else host


def _left(tx: Tx, places: Sequence[Place], leaving: HostId | None) -> set[HostId]:
    """Return the hosts that servers leave, which bind nobody: none for who is new, for it may still come back there."""
    if leaving is None:
        return set()
    homes = {place.home for place in places if place.home is not None}
    return {leaving} | hosts.lost_of(tx, homes)


def _together(tx: Tx, server: Server, company: Sequence[ServerId]) -> dict[str, int]:
    """Return what the server and these need together: where the first goes, the others must follow."""
    together = Counter(amounts(server))
    for other in servers.find(tx, [servers.servers.c.id.in_(company)]):
        together.update(amounts(other))
    return dict(together)


def hinted(tx: Tx, server: Server, hint: str) -> list[Place] | None:
    """Return where the servers are that the hint names; None without the hint."""
    given = server.scheduler_hints.get(hint)
    if not given:
        return None
    named = [ServerId(str(each).lower()) for each in (given if isinstance(given, list) else [given])]
    return server_groups.places_of(tx, server.project, named)
