"""What the tests of operations share: asking for servers in a simulated cloud, and what must always hold."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from sqlalchemy import select

from renova.model.flavor import Flavor
from renova.model.ids import HostId, ImageId, NetworkId, ProjectId, ServerId, SubnetId, UserId, VolumeId
from renova.model.image import Image
from renova.model.network import Subnet
from renova.model.server import Server, TaskState, VmState
from renova.operations.create import NewServer, accept_create
from renova.operations.create_image import Backup, accept_create_image, describe
from renova.operations.submission import Asked
from renova.partners.network import PortWish
from renova.simulation import surroundings
from renova.simulation.cloud import SimulatedCloud
from renova.simulation.loop import run_virtual
from renova.store import actions, migrations, networks, ports, rights, servers
from renova.store import operations as operation_rows
from renova.store.database import Tx
from renova.store.placement import allocations, inventories
from tests.operations.volume_checks import check_volumes

PROJECT = ProjectId("project-1")
USER = UserId("user-1")
FLAVOR = Flavor(id="1", name="tiny", vcpus=1, memory_mb=128, root_gb=1)
CONTENT = b"renova" * 1000


def asked(cloud: SimulatedCloud, *, admin: bool = True) -> Asked:
    return Asked(USER, PROJECT, f"req-{cloud.chance.uuid()}", admin=admin)


def an_image(name: str, **changes: Any) -> Image:
    return surroundings.an_image(f"image-{name}", CONTENT, name=name, **changes)


class Told:
    """A simulated cloud with an image and a network, ready for servers."""

    def __init__(self, seed: int = 1, kind: type[SimulatedCloud] = SimulatedCloud, **options: Any) -> None:
        self.cloud = kind(seed, **options)
        self.volume = VolumeId("")  # for tests that speak of one
        for name in ("one", "two"):
            self.cloud.images.have(an_image(name), CONTENT)

    async def begin(self) -> "Told":
        await self.cloud.up()
        await self.make_network()
        return self

    async def make_network(self) -> None:
        def work(tx: Tx) -> None:
            made = networks.add_network(
                tx, NetworkId("net-1"), name="private", project=PROJECT, shared=True, up=True, mtu=1450, description=""
            )
            networks.add_subnet(
                tx,
                Subnet(
                    id=SubnetId("subnet-1"),
                    name="private",
                    network=made.id,
                    project=PROJECT,
                    cidr="10.0.0.0/24",
                    gateway="10.0.0.1",
                    dns=(),
                    first="10.0.0.2",
                    last="10.0.0.254",
                    enable_dhcp=True,
                    created_at=tx.now,
                    updated_at=tx.now,
                ),
            )

        await self.cloud.database.transact(work)

    async def ask(self, accept: Any, *arguments: Any, **options: Any) -> Any:
        """Submit as the API does, in one transaction."""
        cloud = self.cloud.cloud
        who = asked(self.cloud)
        return await cloud.database.transact(lambda tx: accept(cloud, tx, who, *arguments, **options))

    async def create(self, name: str = "server", **changes: Any) -> ServerId:
        new = NewServer(
            id=ServerId(self.cloud.chance.uuid()),
            name=name,
            hostname=name,
            flavor=FLAVOR,
            image=an_image("one"),
            wishes=(PortWish(NetworkId("net-1")),),
        )
        server = await self.ask(accept_create, msgspec.structs.replace(new, **changes))
        return ServerId(server.id)

    async def created(self, name: str = "server", **changes: Any) -> ServerId:
        server = await self.create(name, **changes)
        await self.idle(server)
        assert (await self.get(server)).vm_state is VmState.ACTIVE, (await self.get(server)).fault
        return server

    async def make_image(self, server: ServerId, backup: Backup | None = None, **metadata: str) -> ImageId:
        """Ask for an image as the API does: first it is described."""
        row, image = await self.get(server), ImageId(self.cloud.chance.uuid())
        described = describe(row, None, image=image, name="made", metadata=metadata, owner=PROJECT, backup=backup)
        await self.cloud.images.add(described)
        await self.ask(accept_create_image, server, image, backup)
        return image

    async def get(self, server: ServerId) -> Server:
        found = await self.cloud.server(server)
        assert found is not None
        return found

    def watch_tasks(self) -> list[TaskState | None]:
        """Return a list that is added every task state to which a server changes from now on."""
        seen: list[TaskState | None] = []
        self.cloud.cloud.database.watch = lambda _tx, _before, now: seen.append(now.task_state)
        return seen

    async def down(self, host: HostId | None) -> None:
        """Wait until the controller no longer hears the host."""
        assert host is not None
        await self.cloud.until(lambda: not self.cloud.cloud.hosts.up(host))

    async def idle(self, server: ServerId, limit_s: float = 1200.0) -> Server:
        """Wait until no operation of the server is active."""
        deadline = self.cloud.clock.monotonic() + limit_s
        while await self.cloud.database.read(lambda tx: operation_rows.active(tx, server)) is not None:
            if self.cloud.clock.monotonic() > deadline:
                raise TimeoutError(f"the operation did not end: {await self.get(server)}")
            await self.cloud.clock.sleep(0.05)
        return await self.get(server)

    async def host_up(self, name: str, limit_s: float = 300.0) -> None:
        await self.cloud.until(lambda: self.cloud.cloud.hosts.up(self.cloud.hosts[name].id), limit_s)

    async def back(self, *names: str) -> None:
        """Switch the hosts on, and wait until each is up."""
        for name in names:
            await self.cloud.power_on(name)
            await self.host_up(name)

    async def check(self) -> None:
        """Assert what must hold whenever the cloud is calm."""
        cloud = self.cloud

        def work(tx: Tx) -> None:
            assert inventories.miscounted(tx) == []
            known = servers.find(tx)
            for server in known:
                running = cloud.running(server.id)
                assert len(running) <= 1, f"{server.name} runs on {running}"
                assert server.task_state is None, f"{server.name} is left in {server.task_state}"
                if server.vm_state is VmState.ACTIVE:
                    assert running == [server.host_name], f"{server.name} runs on {running}, not {server.host_name}"
                elif server.vm_state is VmState.STOPPED:
                    assert running == []
                held = allocations.held(tx, server.id)
                debtors = {debt.host for host in cloud.hosts.values() for debt in rights.debts_of(tx, host.id)}
                where = {allocation.provider for allocation in held}
                if server.vm_state in (VmState.ACTIVE, VmState.STOPPED):
                    assert server.host in where, f"{server.name} holds nothing where it lives"
                    assert where - {server.host} <= debtors, f"{server.name} holds too much: {where}"
                    ports_now = ports.of_server(tx, server.id)
                    assert all(port.host == server.host_name for port in ports_now), ports_now
                    wanted = "ACTIVE" if server.vm_state is VmState.ACTIVE else "DOWN"
                    assert all(port.status == wanted for port in ports_now), ports_now
            ids = {server.id for server in known}
            for host in cloud.hosts.values():
                for allocation in allocations.held_of(tx, host.id):
                    assert allocation.consumer in ids, "an allocation of no server"
                strays = set(host.hypervisor.executing()) - ids
                assert not strays, f"guests of no server on {host.name}: {strays}"
            for migration in migrations.find(tx):
                assert migration.status in ("done", "completed", "confirmed", "failed", "error", "cancelled"), migration
            for host in cloud.hosts.values():
                assert not host.storage.copies, f"copies of disks are left on {host.name}"
            unfinished = [image.id for image, _ in cloud.images.images.values() if image.status != "active"]
            assert not unfinished, f"images that will never be whole: {unfinished}"
            still_open = tx.execute(select(actions.events).where(actions.events.c.finished_at.is_(None))).all()
            assert not still_open, still_open
            check_volumes(cloud, tx)

        await cloud.database.read(work)
        assert cloud.ended == [], cloud.ended


def told_story(story: Callable[[Told], Awaitable[None]], **options: Any) -> None:
    """Run a story on a fresh cloud, and check at its end what must always hold."""

    async def whole() -> None:
        told = await Told(**options).begin()
        await story(told)
        await told.check()
        await told.cloud.down()

    run_virtual(whole())
