"""Why a host will not do: one small function a rule. Each returns a reason, or None when the host will do.

Rules are Nova's filters (spec: scheduling, section 4), in the order in which a person would ask. `rules_for` leaves out
those that say nothing about a request, so each looks only at what it is about.
"""

from collections.abc import Callable

from renova.model.group import GroupPolicy
from renova.model.host import HostView
from renova.scheduling.capabilities import capability
from renova.scheduling.extra_specs import satisfies
from renova.scheduling.request import Request

Rule = Callable[[Request, HostView], str | None]

TENANTS = "filter_tenant_id"  # metadata keys that begin so name the projects an aggregate is for
MOST_SERVERS = "max_instances_per_host"


def asked_for(request: Request, host: HostView) -> str | None:
    if request.only is None or request.only == host.name:
        return None
    return f"not {request.only}, the host asked for"


def not_excluded(request: Request, host: HostView) -> str | None:
    return "the server's former host, or it failed there" if host.id in request.not_on else None


def up(_request: Request, host: HostView) -> str | None:
    return None if host.up else "down"


def enabled(request: Request, host: HostView) -> str | None:
    return "disabled" if host.disabled and not request.forced else None


def in_zone(request: Request, host: HostView) -> str | None:
    if request.zone is None or request.zone == host.zone or request.forced:
        return None
    return f"not in zone {request.zone}"


def runs_architecture(request: Request, host: HostView) -> str | None:
    if request.architecture is None or request.architecture == host.architecture:
        return None
    return f"cannot run {request.architecture}"


def runs_hypervisor_type(request: Request, host: HostView) -> str | None:
    if request.hypervisor_type is None or request.hypervisor_type in host.hypervisor_types:
        return None
    return f"cannot run guests of {request.hypervisor_type}"


def runs_vm_mode(request: Request, _host: HostView) -> str | None:
    # Every host is a QEMU: full virtualisation is what there is.
    return None if request.vm_mode in (None, "hvm") else f"cannot run vm mode {request.vm_mode}"


def has_traits(request: Request, host: HostView) -> str | None:
    if missing := request.traits - host.traits:
        return f"lacks the trait {', '.join(sorted(missing))}"
    if unwanted := request.not_traits & host.traits:
        return f"has the trait {', '.join(sorted(unwanted))}"
    return None


def has_capabilities(request: Request, host: HostView) -> str | None:
    for path, asked in request.capabilities.items():
        value = capability(host, path)
        if value is None or not satisfies(value, asked):
            return f"its {path} is not {asked}"
    return None


def in_aggregates_with_specs(request: Request, host: HostView) -> str | None:
    for key, asked in request.aggregate_specs.items():
        if not any(satisfies(value, asked) for value in host.marks.get(key, ())):
            return f"in no aggregate whose {key} is {asked}"
    return None


def for_project(request: Request, host: HostView) -> str | None:
    """Hosts of an aggregate that names projects are for these only."""
    named = [values for key, values in host.marks.items() if key.startswith(TENANTS)]
    if not named or any(request.project in values for values in named):
        return None
    return "kept for other projects"


def for_image(request: Request, host: HostView) -> str | None:
    """Where image and aggregate both say something of the same name, they must say the same."""
    for key, values in host.marks.items():
        value = request.image_properties.get(key)
        if value and str(value) not in values:
            return f"kept for images of another {key}"
    return None


def isolated_as_image(request: Request, host: HostView) -> str | None:
    settings = request.settings
    isolated = host.name in settings.isolated_hosts
    if request.image in settings.isolated_images:
        return None if isolated else "not isolated, as its image must be"
    if isolated and settings.restrict_isolated_hosts_to_isolated_images:
        return "kept for isolated images"
    return None


def most_servers(request: Request, host: HostView) -> int | None:
    """Return how many servers the host may have; None: as many as fit."""
    limits = [int(value) for value in host.marks.get(MOST_SERVERS, ()) if value.isdecimal()]
    return min(limits) if limits else request.settings.max_instances_per_host or None


def few_enough(request: Request, host: HostView) -> str | None:
    most = most_servers(request, host)
    return f"has {most} servers or more" if most is not None and host.servers >= most else None


def apart_as_hinted(request: Request, host: HostView) -> str | None:
    return "has a server that different_host names" if host.id in request.apart_from else None


def beside_as_hinted(request: Request, host: HostView) -> str | None:
    if request.beside is None or host.id in request.beside:
        return None
    return "has no server that same_host names"


def apart_from_group(request: Request, host: HostView) -> str | None:
    group = request.group
    if group is None or group.policy is not GroupPolicy.ANTI_AFFINITY or group.on.get(host.id, 0) < group.most:
        return None
    return f"has {group.most} of its server group already (anti-affinity)"


def beside_group(request: Request, host: HostView) -> str | None:
    group = request.group
    if group is None or group.policy is not GroupPolicy.AFFINITY or not group.bound or host.id in group.bound:
        return None
    return "not where its server group is (affinity)"


def shares_storage(request: Request, host: HostView) -> str | None:
    if request.storage is None or (host.storage and host.storage == request.storage):
        return None
    return "not on shared storage with the server's disks"


def evacuates(request: Request, host: HostView) -> str | None:
    return "its hypervisor does not support evacuation" if request.evacuated and not host.evacuates else None


def receives_live(request: Request, host: HostView) -> str | None:
    return "guests do not come to it with their memory" if request.live and not host.receives_live else None


def has_room(request: Request, host: HostView) -> str | None:
    """Say of which resource too little is free; the claim tests the same again."""
    for name, amount in request.resources.items():
        free = host.total.get(name, 0) - host.used.get(name, 0)
        if amount > free:
            return f"needs {amount} {name}, {free:g} free"
    return None


def in_units(amount: int, units: tuple[int, int, int]) -> bool:
    least, most, step = units
    return least <= amount <= most and amount % step == 0


def claimable(request: Request, host: HostView) -> str | None:
    """Say of which resource the host gives no such amount at once, however much of it is free."""
    for name, amount in request.resources.items():
        units = host.units.get(name)
        if units is not None and not in_units(amount, units):
            least, most, step = units
            return f"gives {least} to {most} {name} to a server" + (f", in steps of {step}" if step > 1 else "")
    return None


ALL: tuple[Rule, ...] = (
    asked_for,
    not_excluded,
    up,
    enabled,
    in_zone,
    runs_architecture,
    runs_hypervisor_type,
    runs_vm_mode,
    has_traits,
    has_capabilities,
    in_aggregates_with_specs,
    for_project,
    for_image,
    isolated_as_image,
    few_enough,
    apart_as_hinted,
    beside_as_hinted,
    apart_from_group,
    beside_group,
    shares_storage,
    evacuates,
    receives_live,
    has_room,
    claimable,
)

# Those that an image can break: all that a rebuild with another one must satisfy, and on its own host only.
OF_IMAGE: tuple[Rule, ...] = (
    runs_architecture,
    runs_hypervisor_type,
    runs_vm_mode,
    has_traits,
    for_image,
    isolated_as_image,
)


def rules_for(request: Request) -> tuple[Rule, ...]:
    """Return the rules that can refuse a host to this request, in order."""
    settings = request.settings
    policy = request.group.policy if request.group else None
    idle: dict[Rule, bool] = {
        asked_for: request.only is None,
        not_excluded: not request.not_on,
        enabled: request.forced,
        in_zone: request.zone is None or request.forced,
        runs_architecture: request.architecture is None,
        runs_hypervisor_type: request.hypervisor_type is None,
        runs_vm_mode: request.vm_mode is None,
        has_traits: not request.traits and not request.not_traits,
        has_capabilities: not request.capabilities,
        in_aggregates_with_specs: not request.aggregate_specs,
        for_project: not any(key.startswith(TENANTS) for key in request.marks),
        for_image: request.marks.isdisjoint(request.image_properties),
        isolated_as_image: not settings.isolated_hosts and not settings.isolated_images,
        few_enough: not settings.max_instances_per_host and MOST_SERVERS not in request.marks,
        apart_as_hinted: not request.apart_from,
        beside_as_hinted: request.beside is None,
        apart_from_group: policy is not GroupPolicy.ANTI_AFFINITY,
        beside_group: policy is not GroupPolicy.AFFINITY,
        shares_storage: request.storage is None,
        evacuates: not request.evacuated,
        receives_live: not request.live,
    }
    return tuple(rule for rule in ALL if not idle.get(rule, False))
