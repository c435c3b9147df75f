"""Bodies whose shapes no type tells: those of routes that read their JSON by hand; and those without which a state is
seldom reached. A route that is here no more, or that needs to be here and is not, fails `test_fuzz`.
"""

import random
from collections.abc import Callable
from typing import Any

from renova.api.http import Version
from renova.api.volume.volume_actions import _ACTIONS as VOLUME_ACTIONS
from tests.fuzz.shapes import SECRET, Shapes
from tests.fuzz.targets import Target, action_shapes, shapes_of

Make = Callable[[random.Random, Shapes, Version], Any]

NO_BODY = (
    "PUT /servers/{server}/tags/{tag}",
    "PUT /resource_classes/{resource_class}",
    "PUT /traits/{trait}",
    "PUT /projects/{project}/users/{user}/roles/{role}",
    "POST /duties/{duty}",
    "POST /hosts/{host}/clean",
    "POST /hosts/{host}/trust-power",
    "POST /hosts/{host}/power/test",
    "POST /hosts/{host}/power/rehearse",
    "POST /power/reseal",
    "POST /brake/release",
    "POST /eras",
    "POST /strangers/{stranger}/dismiss",
    "POST /servers/{server}/migrations/{migration}/action",
    "POST /servers/{server}/remote-consoles",
)
UPLOADS = ("PUT /images/{image}/file",)


def _server_action(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    every = action_shapes()
    name = rng.choice(sorted(every))
    if rng.random() < 0.75:
        name = rng.choice([each for each in sorted(every) if each in _OFTEN])
    shape = next(iter(every[name]), None)
    return {name: shapes.body(shape, version) if shape else None}


_OFTEN = (
    *("os-start", "os-stop", "reboot", "rebuild", "lock", "unlock", "pause", "unpause", "suspend", "resume"),
    *("os-resetState", "createImage", "createBackup", "evacuate", "migrate", "os-getConsoleOutput"),
)


def _volume_action(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    name = rng.choice(sorted(VOLUME_ACTIONS))
    every: dict[str, Any] = {
        "os-extend": {"new_size": rng.randint(1, 4)},
        "os-set_bootable": {"bootable": rng.choice((True, False, "true"))},
        "os-reset_status": {"status": rng.choice(("available", "error", "in-use"))},
        "os-attach": {"instance_uuid": shapes.known("server"), "mountpoint": "/dev/vdb"},
        "os-detach": {"attachment_id": shapes.known("attachment")},
        "os-reimage": {"image_id": shapes.known("image"), "reimage_reserved": True},
        "os-set_image_metadata": {"metadata": {shapes.word(): shapes.word()}},
        "os-unset_image_metadata": {"key": shapes.word()},
    }
    return {name: every.get(name, {}) if rng.random() < 0.8 else None}


def _pairs(word: str) -> Make:
    return lambda rng, shapes, _: {word: {shapes.word(): shapes.word() for _ in range(rng.randint(0, 2))}}


def _quotas(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    names = ("volumes", "snapshots", "gigabytes", "per_volume_gigabytes")
    return {"quota_set": {name: rng.choice((-1, 50, 1000)) for name in rng.sample(names, rng.randint(1, 2))}}


def _snapshot_action(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    return rng.choice(({"os-force_delete": {}}, {"os-reset_status": {"status": "error"}}))


def _image(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    made: dict[str, Any] = {
        "name": shapes.word(),
        "disk_format": "raw",
        "container_format": "bare",
        "min_disk": rng.choice((0, 0, 1)),
    }
    if rng.random() < 0.3:
        made |= {
            "tags": [shapes.word()],
            "hw_" + shapes.word(): shapes.word(),
            "visibility": shapes.value("visibility"),
        }
    return made


def _changes(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    return [
        {"op": shapes.value("op"), "path": shapes.value("path"), "value": rng.choice((shapes.word(), 1, [], None))}
        for _ in range(rng.randint(1, 3))
    ]


def _aggregates(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    several = [shapes.uuid() for _ in range(rng.randint(0, 2))]
    if version < (1, 19):
        return several
    return {"aggregates": several, "resource_provider_generation": shapes.generation()}


def _allocations(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    provider = shapes.known("provider")
    made: dict[str, Any] = {"allocations": {provider: {"resources": {"VCPU": 1}}}}
    if version < (1, 12):
        made["allocations"] = [{"resource_provider": {"uuid": provider}, "resources": {"VCPU": 1}}]
    if version >= (1, 8):
        made |= {"project_id": shapes.known("project"), "user_id": shapes.known("user")}
    if version >= (1, 28):
        made["consumer_generation"] = rng.choice((None, 0, 1))
    if version >= (1, 38):
        made["consumer_type"] = "INSTANCE"
    return made


def _many_allocations(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    return {shapes.known("server"): _allocations(rng, shapes, version)}


def _reshape(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    inventory = {"inventories": {"VCPU": {"total": 8}}, "resource_provider_generation": shapes.generation()}
    return {
        "inventories": {shapes.known("provider"): inventory},
        "allocations": rng.choice(({}, _many_allocations(rng, shapes, version))),
    }


def _server(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    """A server that can be made."""
    server: dict[str, Any] = {"name": shapes.word(), "flavorRef": "1", "imageRef": shapes.known("image")}
    server["networks"] = rng.choice(("auto", "none")) if version >= (2, 37) else []
    if rng.random() < 0.2:
        server["metadata"] = {"a": "b"}
    if rng.random() < 0.2:
        server["adminPass"] = shapes.secret()
    return {"server": server}


def _sign_in(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    password = f"{SECRET}of-demo" if rng.random() < 0.4 else shapes.secret()
    user = {"name": rng.choice(("demo", "demo", "nobody")), "domain": {"id": "default"}, "password": password}
    return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}


def _subnet(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    cidr = f"10.{rng.randint(20, 250)}.0.0/24"
    return {"subnet": {"network_id": shapes.known("network"), "cidr": cidr, "ip_version": 4}}


def _provider(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    made: dict[str, Any] = {"name": shapes.word()}
    if rng.random() < 0.5:
        made["uuid"] = shapes.uuid()
    return made


def _quota_changes(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    return {"quota_set": {rng.choice(("instances", "cores", "ram", "key_pairs")): rng.choice((-1, 1000, "100000"))}}


def _extra_specs(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    return {"extra_specs": {"quota:cpu_shares": "100", "own:x" + shapes.ascii(): "1"}}


def _one_extra_spec(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    return {rng.choice(("quota:cpu_shares", "hw:cpu_policy", "n")): "7"}


def _enabled_service(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    return {"host": shapes.known("host"), "binary": rng.choice(("nova-compute", "cinder-volume"))}


def _rule(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    return {"security_group_rule": {"security_group_id": shapes.known("group"), "direction": "ingress"}}


def _server_group(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    policy = rng.choice(("affinity", "anti-affinity"))
    how: dict[str, Any] = {"policy": policy} if version >= (2, 64) else {"policies": [policy]}
    return {"server_group": {"name": shapes.word(), **how}}


def _volume(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    return {"volume": {"size": rng.choice((1, 1, 2)), "name": shapes.word()}}


def _volume_attachment(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    return {"attachment": {"volume_uuid": shapes.known("volume"), "instance_uuid": shapes.known("server")}}


def _events(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    event = {"name": rng.choice(("network-changed", "network-vif-plugged")), "server_uuid": shapes.known("server")}
    return {"events": [event]}


def _host_of_aggregate(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    return {rng.choice(("add_host", "remove_host")): {"host": shapes.known("host")}}


def _inventory(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    made = {"resource_class": rng.choice(("VCPU", "CUSTOM_GOLD", "DISK_GB")), "total": 8}
    return made | {"resource_provider_generation": shapes.generation()}


def _inventories(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    some = {rng.choice(("VCPU", "CUSTOM_GOLD")): {"total": 8}} if rng.random() < 0.8 else {}
    return {"inventories": some, "resource_provider_generation": shapes.generation()}


def _traits(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    return {"traits": rng.choice(([], ["CUSTOM_RED"])), "resource_provider_generation": shapes.generation()}


def _class(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    return {"name": f"CUSTOM_{shapes.ascii().upper()}"}


def _segment(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    method = rng.choice(("auto", "reserved_host", "auto_priority", "rh_priority"))
    return {"segment": {"name": shapes.word(), "recovery_method": method, "service_type": "COMPUTE"}}


def _segment_host(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    name = rng.choice(("host1", "host2", "host3"))
    return {"host": {"name": name, "type": "COMPUTE", "control_attributes": "SSH", "reserved": rng.random() < 0.2}}


def _notification(rng: random.Random, shapes: Shapes, version: Version) -> Any:
    """One that may be heeded: of a server, a process, or a host that is said to be back, or down."""
    event = rng.choice(("STARTED", "STOPPED"))
    guest = {"event": "LIFECYCLE", "vir_domain_event": "STOPPED_FAILED", "instance_uuid": shapes.known("server")}
    kind, payload = rng.choice(
        (("VM", guest), ("PROCESS", {"event": event, "process_name": "libvirtd"}), ("COMPUTE_HOST", {"event": event}))
    )
    said = {"hostname": rng.choice(("host1", "host2")), "generated_time": "2026-01-02T03:04:05"}
    return {"notification": {"type": kind, "payload": payload, **said}}


# Instead of what types tell, where it is sure to be one; beside it, half of the time, where it is only better.
BY_HAND: dict[str, Make] = {
    "POST /servers/{server}/action": _server_action,
    "POST /volumes/{volume}/action": _volume_action,
    "POST /volumes/{volume}/metadata": _pairs("metadata"),
    "PUT /volumes/{volume}/metadata": _pairs("metadata"),
    "PUT /volumes/{volume}/metadata/{key}": _pairs("meta"),
    "POST /snapshots/{snapshot}/metadata": _pairs("metadata"),
    "PUT /snapshots/{snapshot}/metadata": _pairs("metadata"),
    "PUT /snapshots/{snapshot}/metadata/{key}": _pairs("meta"),
    "POST /snapshots/{snapshot}/action": _snapshot_action,
    "POST /attachments/{attachment}/action": lambda *_: {"os-complete": {}},
    "POST /types/{type}/extra_specs": _pairs("extra_specs"),
    "PUT /os-quota-sets/{of}": _quotas,
    "POST /images": _image,
    "PATCH /images/{image}": _changes,
    "PUT /images/{image}/tags/{tag}": lambda *_: None,
    "PUT /flavors/{flavor}/os-extra_specs/{key}": _one_extra_spec,
    "POST /flavors/{flavor}/os-extra_specs": _extra_specs,
    "PUT /resource_providers/{provider}/aggregates": _aggregates,
    "POST /allocations": _many_allocations,
    "PUT /allocations/{consumer}": _allocations,
    "POST /reshaper": _reshape,
}
BETTER: dict[str, Make] = {
    "POST /servers": _server,
    "POST /auth/tokens": _sign_in,
    "POST /subnets": _subnet,
    "POST /resource_providers": _provider,
    "PUT /os-quota-sets/{project}": _quota_changes,
    "PUT /os-quota-class-sets/{class}": _quota_changes,
    "POST /security-group-rules": _rule,
    "POST /os-server-groups": _server_group,
    "POST /volumes": _volume,
    "POST /attachments": _volume_attachment,
    "POST /os-server-external-events": _events,
    "POST /os-aggregates/{aggregate}/action": _host_of_aggregate,
    "POST /resource_providers/{provider}/inventories": _inventory,
    "PUT /resource_providers/{provider}/inventories": _inventories,
    "PUT /resource_providers/{provider}/traits": _traits,
    "POST /resource_classes": _class,
    "PUT /os-services/enable": _enabled_service,
    "PUT /os-services/disable": _enabled_service,
    "POST /segments": _segment,
    "POST /segments/{segment}/hosts": _segment_host,
    "POST /notifications": _notification,
}

# The Block Storage API's handlers take their shapes out of a wrapping: the name of the thing.
_WRAPPED = {
    "NewVolume": "volume",
    "ChangedVolume": "volume",
    "NewSnapshot": "snapshot",
    "ChangedSnapshot": "snapshot",
    "NewAttachment": "attachment",
    "ConnectedAttachment": "attachment",
    "NewType": "volume_type",
    "ChangedType": "volume_type",
}


def word_of(target: Target) -> str:
    return f"{target.route.method} {target.route.path}"


def has_body(target: Target) -> bool:
    """Say whether a body for the route is known; those of other methods than these need none."""
    word = word_of(target)
    if target.route.method not in ("POST", "PUT", "PATCH") or word in (*NO_BODY, *UPLOADS, *BY_HAND):
        return True
    return bool(shapes_of(target.route.handler))


def fitting_body(target: Target, rng: random.Random, shapes: Shapes, version: Version) -> Any:
    """Return a body that the route may well take; None for none."""
    word = word_of(target)
    if target.route.method not in ("POST", "PUT", "PATCH") or word in NO_BODY:
        return None
    if word in BY_HAND:
        return BY_HAND[word](rng, shapes, version)
    if word in BETTER and rng.random() < 0.6:
        return BETTER[word](rng, shapes, version)
    chosen = shapes_of(target.route.handler)
    if not chosen:
        return None
    shape = chosen[0] if rng.random() < 0.9 else rng.choice(chosen)
    body = shapes.body(shape, version)
    wrapping = _WRAPPED.get(shape.__name__) if target.mount.startswith("/volume") else None
    return {wrapping: body} if wrapping else body
