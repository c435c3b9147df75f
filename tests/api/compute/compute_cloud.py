"""A Compute API on a real database: hosts that only exist, images out of a dict, operations that nothing runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec

from renova.api.app import build
from renova.api.compute import service as compute
from renova.api.dispatch import Dispatcher
from renova.api.everything import rules
from renova.engine.journal import Held
from renova.hosts.agents import Agents
from renova.hosts.registry import Hosts
from renova.model.chance import SeededChance
from renova.model.flavor import Flavor
from renova.model.guest import Capabilities, HostFacts, PowerState
from renova.model.host import Host, HostState
from renova.model.ids import (
    ExecutorId,
    HostId,
    ImageId,
    NetworkId,
    OperationId,
    PortId,
    ProjectId,
    ServerId,
    SubnetId,
    UserId,
)
from renova.model.image import Image
from renova.model.network import Network, Subnet
from renova.model.server import AttachedAddress, AttachedNetwork, Server, VmState
from renova.operations.cloud import Cloud
from renova.operations.parts.fleet import Fleet
from renova.partners.identity import Caller
from renova.partners.image import Images
from renova.partners.network import Networks
from renova.partners.volume.builtin import BuiltinVolumes
from renova.settings import ControllerSettings
from renova.store import hosts, servers
from renova.store.database import Tx
from renova.store.placement import host_provider, inventories
from tests.databases import open_empty

from ...storage_at_hand import StorageAtHand
from ..service_cloud import Api, HandClock

V21 = "/compute/v2.1"
POLICY = rules()
IMAGE = ImageId("70a599e0-31e7-49b7-b260-868f441e862b")
OTHER_IMAGE = ImageId("155d900f-4e14-4e4c-a73d-069cbf4541e6")
NETWORK = NetworkId("b5f1f11d-2c0a-4d6f-9a3e-2f7c4dbd6e31")


@dataclass
class FixedHosts:
    """Hosts that are up or not as told, with the console they are given."""

    alive: set[HostId] = field(default_factory=set)
    text: bytes = b""
    settled: bool = True

    def up(self, host: HostId) -> bool:
        return host in self.alive

    def connected(self, host: HostId) -> bool:
        return host in self.alive

    async def console(self, host: HostId, server: ServerId, limit: int = 102400) -> bytes:
        return self.text[-limit:]

    async def seek_proof(self, host: HostId) -> bool:
        return False

    async def drop(self, host: HostId) -> None:
        self.alive.discard(host)

    def stand(self, host: Host) -> None: ...

    def on_up(self, host: HostId) -> None: ...


@dataclass
class WrittenDown:
    """Operations as they were submitted; nothing runs them."""

    executor: ExecutorId
    started: list[Held] = field(default_factory=list)

    def start(self, held: Held) -> None:
        self.started.append(held)

    def stop(self, operation: OperationId) -> None: ...

    async def finished(self, operation: OperationId) -> None: ...


class FixedIdentity:
    """The users admin, manager, demo and reader, each with a project of their own; their tokens are their names."""

    def __init__(self) -> None:
        self.callers = {
            name: Caller(
                user=UserId(sha256(f"user {name}".encode()).hexdigest()[:32]),
                user_name=name,
                project=ProjectId(sha256(f"project {name}".encode()).hexdigest()[:32]),
                project_name=name,
                roles=frozenset(roles),
                expires="2027-01-01T00:00:00Z",
            )
            for name, roles in (
                ("admin", ("admin", "manager", "member", "reader")),
                ("manager", ("manager", "member", "reader")),
                ("demo", ("member", "reader")),
                ("reader", ("reader",)),
            )
        }

    async def caller(self, token: str) -> Caller | None:
        return self.callers.get(token)

    async def project_exists(self, project: ProjectId) -> bool:
        return any(caller.project == project for caller in self.callers.values())


@dataclass
class DictImages:
    """Images that everybody sees."""

    images: dict[ImageId, Image]

    async def image(self, image: ImageId, caller: Caller | None) -> Image | None:
        return self.images.get(image)

    async def add(self, image: Image) -> None:
        self.images[image.id] = image

    async def remove(self, image: ImageId) -> None:
        self.images.pop(image, None)


@dataclass
class DictNetworks:
    """Networks that everybody may use."""

    networks: dict[NetworkId, Network]

    async def network(self, network: NetworkId, project: ProjectId | None) -> Network | None:
        return self.networks.get(network)

    async def available(self, project: ProjectId) -> list[Network]:
        return list(self.networks.values())

    async def port(self, port: str, project: ProjectId | None) -> None:
        return None

    async def ports(self, server: ServerId) -> list[Any]:
        return []


def an_image(image: ImageId, **values: Any) -> Image:
    usual = Image(
        id=image,
        name="cirros",
        status="active",
        owner=None,
        visibility="public",
        disk_format="qcow2",
        container_format="bare",
        size=20_000_000,
        virtual_size=100_000_000,
        sha256="0" * 64,
        md5=None,
        min_disk=0,
        min_ram=0,
        protected=False,
        tags=(),
        properties={"hw_machine_type": "q35"},
        created_at="2026-01-01T00:00:00.000000",
        updated_at="2026-01-01T00:00:00.000000",
    )
    return msgspec.structs.replace(usual, **values)


def a_network(network: NetworkId, **values: Any) -> Network:
    made = "2026-01-01T00:00:00.000000"
    subnet = Subnet(
        id=SubnetId("9c0f8e2a-0d0c-4a3c-8a3e-0c1ff3c5a5ab"),
        name="subnet",
        network=network,
        project=ProjectId("p"),
        cidr="10.0.0.0/24",
        gateway="10.0.0.1",
        dns=(),
        first="10.0.0.2",
        last="10.0.0.254",
        enable_dhcp=True,
        created_at=made,
        updated_at=made,
    )
    usual = Network(
        id=network,
        name="private",
        project=ProjectId("p"),
        shared=True,
        admin_state_up=True,
        mtu=1450,
        vni=100,
        description="",
        created_at=made,
        updated_at=made,
        subnets=(subnet,),
    )
    return msgspec.structs.replace(usual, **values)


@dataclass
class ComputeApi(Api):
    """The Compute API, and the world it is about."""

    hosts: FixedHosts = field(default_factory=FixedHosts)
    operations: WrittenDown = field(default_factory=lambda: WrittenDown(ExecutorId("tests")))
    images: dict[ImageId, Image] = field(default_factory=dict)
    networks: dict[NetworkId, Network] = field(default_factory=dict)

    async def sign_in(self, who: str, password: str | None = None, project: str | None = None) -> str:
        caller = await self.cloud.identity.caller(who)
        assert caller is not None
        self.tokens[who] = who
        self.kept[f"{who}_user"] = caller.user
        self.kept[f"{who}_project"] = caller.project
        return who

    async def compute(
        self, who: str | None, request: str, body: Any = None, version: str | None = None
    ) -> httpx.Response:
        """Send a request below /compute/v2.1 at this microversion."""
        method, _, path = request.partition(" ")
        headers = {"openstack-api-version": f"compute {version}"} if version else {}
        return await self.ask(who, f"{method} {V21}{path}", body, headers)

    async def got(self, who: str, request: str, body: Any = None, version: str | None = None, status: int = 200) -> Any:
        """Return the answer's JSON, of a request that must have this status."""
        answer = await self.compute(who, request, body, version)
        assert answer.status_code == status, f"{request} at {version}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def refused(
        self, who: str | None, request: str, status: int, body: Any = None, version: str | None = None
    ) -> str:
        """Return the message of a refusal, which must have this status and Nova's form."""
        answer = await self.compute(who, request, body, version)
        assert answer.status_code == status, f"{request} at {version}: {answer.status_code} {answer.text}"
        ((_, inner),) = answer.json().items()
        assert inner["code"] == status
        return str(inner["message"])

    async def project(self, who: str) -> ProjectId:
        if f"{who}_project" not in self.kept:
            await self.sign_in(who)
        return ProjectId(self.kept[f"{who}_project"])

    async def have_host(self, name: str, *, alive: bool = True, live: bool = False) -> HostId:
        """Have a host; `live`: guests leave it with their memory."""
        host = HostId(self.cloud.chance.uuid())

        def work(tx: Tx) -> None:
            hosts.add(tx, host, name, "192.0.2.1", "c" * 64)
            facts = HostFacts(
                hypervisor_type="QEMU",
                hypervisor_version=7002000,
                accelerator="tcg",
                architecture="x86_64",
                vcpus=8,
                memory_mb=16384,
                local_gb=100,
                cpu_info={"model": "qemu64"},
                storage_id="shared" if live else "",
                capabilities=Capabilities(live_migration=live),
            )
            hosts.change(tx, host, state=HostState.UP, facts=facts, last_seen=tx.now)
            host_provider.provide(
                tx,
                host,
                name,
                [
                    inventories.Inventory(host, "VCPU", 8, 0, 4.0),
                    inventories.Inventory(host, "MEMORY_MB", 16384, 512, 1.0),
                    inventories.Inventory(host, "DISK_GB", 100, 0, 1.0),
                ],
            )

        await self.cloud.database.transact(work)
        if alive:
            self.hosts.alive.add(host)
        return host

    async def have_flavor(self, name: str = "small", **values: Any) -> None:
        flavor = {"name": name, "id": name, "ram": 512, "vcpus": 1, "disk": 1, **values}
        await self.got("admin", "POST /flavors", {"flavor": flavor})

    async def have_server(self, who: str = "demo", **values: Any) -> Server:
        """Have a server of this user's project, active where nothing else is said."""
        project = await self.project(who)
        server = ServerId(self.cloud.chance.uuid())
        flavor = Flavor(id="small", name="small", vcpus=1, memory_mb=512, root_gb=1, extra_specs={"a": "b"})
        network = AttachedNetwork(
            NETWORK, "private", (AttachedAddress("10.0.0.5", "fa:16:3e:00:00:05", PortId("port")),)
        )

        def work(tx: Tx) -> Server:
            usual = Server(
                id=server,
                serial=0,
                project=project,
                user=UserId(self.kept[f"{who}_user"]),
                name="vm",
                hostname="vm",
                vm_state=VmState.ACTIVE,
                task_state=None,
                power_state=PowerState.RUNNING,
                availability_zone="nova",
                flavor=flavor,
                image=IMAGE,
                image_properties={"hw_machine_type": "q35"},
                networks=(network,),
                created_at=tx.now,
                updated_at=tx.now,
                launched_at=tx.now,
            )
            servers.add(tx, msgspec.structs.replace(usual, **values))
            found = servers.get(tx, server, deleted=True)
            assert found is not None
            return found

        self.clock.now += timedelta(seconds=1)  # so that the order of servers is clear
        return await self.cloud.database.transact(work)


@asynccontextmanager
async def running(state: Path) -> AsyncIterator[ComputeApi]:
    """Run a cloud on its first start, with the users admin and demo, an image and a network."""
    clock = HandClock()
    database = open_empty(clock)
    images = {IMAGE: an_image(IMAGE), OTHER_IMAGE: an_image(OTHER_IMAGE, name="other")}
    networks = {NETWORK: a_network(NETWORK)}
    hosts_up = FixedHosts()
    storage = StorageAtHand(database, clock, cast(Images, None))
    operations = WrittenDown(ExecutorId("tests"))
    chosen = ControllerSettings(state_dir=str(state), public_url="http://cloud.example")
    chance = SeededChance(7)
    cloud = Cloud(
        settings=chosen,
        clock=clock,
        chance=chance,
        database=database,
        identity=FixedIdentity(),
        hosts=cast(Hosts, hosts_up),
        agents=cast(Agents, hosts_up),
        images=cast(Images, DictImages(images)),
        networks=cast(Networks, DictNetworks(networks)),
        volumes=BuiltinVolumes(database, clock, chance, cast(Images, None), storage, storage),
        operations=operations,
        fleet=Fleet(clock, hosts_up.up),
    )
    app = build(compute.services(cloud), Dispatcher(cloud, POLICY))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud.example") as client:
        yield ComputeApi(
            cloud,
            client,
            clock,
            hosts=hosts_up,
            operations=operations,
            images=images,
            networks=networks,
        )
    database.close()
