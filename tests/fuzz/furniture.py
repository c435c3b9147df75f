"""What a cloud holds before it is fuzzed: users of each kind, and one or two of each thing that can be made."""

import hashlib
from typing import Any

from sqlalchemy import update

from renova.store import identity
from tests.fuzz.shapes import SECRET
from tests.fuzz.world import World

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3PqLpc0kvNn8mS5IpjIYB2bTbJiKd7bfdI3sbHFbUR someone@somewhere"
_FORMATS = {"disk_format": "raw", "container_format": "bare"}
_BY_ADMIN: tuple[tuple[str, Any], ...] = (
    ("POST /compute/v2.1/flavors", {"flavor": {"name": "t", "ram": 64, "vcpus": 1, "disk": 1, "id": "1"}}),
    ("POST /compute/v2.1/flavors/1/os-extra_specs", {"extra_specs": {"hw:boot_menu": "1"}}),
    ("POST /compute/v2.1/os-aggregates", {"aggregate": {"name": "g"}}),
    ("POST /volume/v3/types", {"volume_type": {"name": "g"}}),
    ("POST /placement/resource_providers", {"name": "g"}),
    ("POST /instance-ha/v1/segments", {"segment": {"name": "g", "recovery_method": "auto", "service_type": "COMPUTE"}}),
    ("POST /placement/resource_classes", {"name": "CUSTOM_GOLD"}),
    ("PUT /placement/traits/CUSTOM_RED", None),
)
_BY_DEMO: tuple[tuple[str, Any], ...] = (
    ("POST /image/v2/images", {"name": "empty", **_FORMATS}),
    ("POST /compute/v2.1/os-keypairs", {"keypair": {"name": "key", "public_key": KEY}}),
    ("POST /compute/v2.1/os-server-groups", {"server_group": {"name": "g", "policy": "affinity"}}),
    ("POST /network/v2.0/security-groups", {"security_group": {"name": "g"}}),
)
_LOOKED_AT = (
    *("/compute/v2.1/os-services", "/compute/v2.1/os-hypervisors/detail", "/renova/v1/hosts", "/renova/v1/duties"),
    *("/volume/v3/types", "/network/v2.0/security-groups", "/network/v2.0/security-group-rules"),
    *("/placement/resource_providers", "/identity/v3/services", "/identity/v3/endpoints"),
)
_NAMES = (
    *(("keypair", "key"), ("zone", "nova"), ("trait", "HW_CPU_X86_AVX"), ("trait", "CUSTOM_RED")),
    *(("resource_class", "VCPU"), ("resource_class", "CUSTOM_GOLD"), ("class", "default"), ("region", "RegionOne")),
    *(("domain", "default"), ("key", "a"), ("tag", "a"), ("alias", "os-keypairs")),
)


async def furnish(world: World) -> None:
    """Have users, a network, an image, two servers with a volume each, and what else can be made."""
    await _have_users(world)
    for what, body in _BY_ADMIN:
        await world.have("admin", what, body)
    image = await world.have("admin", "POST /image/v2/images", {"name": "i", "visibility": "public", **_FORMATS})
    await world.have("admin", f"PUT /image/v2/images/{image['id']}/file", b"\1" * 1024)
    network = (await world.have("admin", "POST /network/v2.0/networks", {"network": {"shared": True}}))["network"]
    subnet = {"network_id": network["id"], "cidr": "10.7.0.0/24", "ip_version": 4}
    await world.have("admin", "POST /network/v2.0/subnets", {"subnet": subnet})
    await world.have("demo", "POST /network/v2.0/ports", {"port": {"network_id": network["id"]}})
    servers, volumes = [], []
    for name in ("a", "b"):
        wanted = {"name": name, "flavorRef": "1", "imageRef": image["id"], "networks": "auto", "metadata": {"a": "b"}}
        servers.append((await world.have("demo", "POST /compute/v2.1/servers", {"server": wanted}))["server"]["id"])
        made = await world.have("demo", "POST /volume/v3/volumes", {"volume": {"size": 1, "metadata": {"a": "b"}}})
        volumes.append(made["volume"]["id"])
    for what, body in _BY_DEMO:
        await world.have("demo", what, body)
    segment = (await world.have("admin", "GET /instance-ha/v1/segments"))["segments"][0]["uuid"]
    place = {"name": "host1", "type": "COMPUTE", "control_attributes": ""}
    await world.have("admin", f"POST /instance-ha/v1/segments/{segment}/hosts", {"host": place})
    said = {"type": "COMPUTE_HOST", "hostname": "host1", "generated_time": "2026-01-02T03:04:05"}
    alarm = {"notification": said | {"payload": {"event": "STARTED"}}}
    await world.have("admin", "POST /instance-ha/v1/notifications", alarm)
    await world.cloud.clock.sleep(5)
    for path in _LOOKED_AT:
        await world.have("admin", f"GET {path}")
    attached = {"volumeAttachment": {"volumeId": volumes[0]}}
    await world.have("demo", f"POST /compute/v2.1/servers/{servers[0]}/os-volume_attachments", attached)
    await world.have(
        "demo", "POST /volume/v3/snapshots", {"snapshot": {"volume_id": volumes[1], "metadata": {"a": "b"}}}
    )
    for noun, name in _NAMES:
        world.known.add(noun, name)
    await world.cloud.clock.sleep(5)


async def _have_users(world: World) -> None:
    """Have an administrator, a member, a reader, a member of another project, and one whose token has expired."""
    for who in ("admin", "demo"):
        await world.sign_in(who, f"{SECRET}of-{who}")
    elsewhere = (await world.have("admin", "POST /identity/v3/projects", {"project": {"name": "elsewhere"}}))["project"]
    roles = {each["name"]: each["id"] for each in (await world.have("admin", "GET /identity/v3/roles"))["roles"]}
    projects = (await world.have("admin", "GET /identity/v3/projects"))["projects"]
    demo = next(each["id"] for each in projects if each["name"] == "demo")
    for who, project, role in (
        ("other", elsewhere["id"], "member"),
        ("reader", demo, "reader"),
        ("lost", demo, "member"),
    ):
        user = {"name": who, "password": f"{SECRET}of-{who}", "default_project_id": project}
        made = (await world.have("admin", "POST /identity/v3/users", {"user": user}))["user"]["id"]
        await world.have("admin", f"PUT /identity/v3/projects/{project}/users/{made}/roles/{roles[role]}")
        await world.sign_in(who, f"{SECRET}of-{who}")
    lost = identity.tokens.c.sha256 == hashlib.sha256(world.tokens["lost"].encode()).hexdigest()
    expired = update(identity.tokens).where(lost).values(expires_at="2020-01-01T00:00:00.000000")
    await world.cloud.database.transact(lambda tx: tx.execute(expired))
