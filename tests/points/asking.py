"""How users ask in a cloud whose controller may die meanwhile: until it is known that they were heard, and once."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import select

from renova.model.errors import NotNow
from renova.model.ids import NetworkId, ServerId
from renova.model.server import VmState
from renova.operations.clear_away import CLEAR_AWAY
from renova.operations.cloud import Cloud
from renova.operations.create import NewServer, accept_create
from renova.operations.rounds import Round
from renova.partners.network import PortWish
from renova.simulation.calm import disagreements
from renova.simulation.controllers import Gone
from renova.store import actions, notices, rights, volumes
from renova.store.database import Tx
from renova.store.operations import operations
from tests.operations.story import FLAVOR, Told, an_image, asked
from tests.points.cloud import LOOK_S, TappedCloud


class Asking(Told):
    """A cloud with taps, and its users."""

    cloud: TappedCloud

    def __init__(self, seed: int = 1, **options: Any) -> None:
        super().__init__(seed, kind=TappedCloud, **options)
        self.servers: list[ServerId] = []

    async def ask(self, accept: Any, *arguments: Any, **options: Any) -> Any:
        """Submit as the API does; where no answer comes, look whether it was submitted, and else ask again."""
        who = asked(self.cloud)

        def begin(tx: Tx) -> Any:
            return accept(self.cloud.cloud, tx, who, *arguments, **options)

        def was_begun(tx: Tx) -> bool:
            return (
                tx.execute(select(actions.actions.c.id).where(actions.actions.c.request == who.request)).first()
                is not None
            )

        return await self.until_heard(lambda: self.cloud.cloud.database.transact(begin), was_begun)

    async def until_heard(self, request: Callable[[], Awaitable[Any]], was_begun: Callable[[Tx], bool]) -> Any:
        """Make the request as the controller does it for a user, and again where it may be lost, and is."""
        controller = next(iter(self.cloud.controllers.values()))
        while True:
            await self.cloud.until(lambda: controller.controller is not None)
            with suppress(NotNow, Gone):
                return await controller.ask(lambda _cloud: request())
            if await self.cloud.database.read(was_begun):
                return None
            await self.cloud.clock.sleep(LOOK_S)
            for host in self.cloud.every_host():
                if host.powered:
                    await self.host_up(host.name)

    async def host_up(self, name: str, limit_s: float = 300.0) -> None:
        await self.cloud.until(lambda: self.cloud.is_up(name), limit_s)

    async def create(self, name: str = "server", **changes: Any) -> ServerId:
        new = NewServer(
            id=ServerId(self.cloud.chance.uuid()),
            name=name,
            hostname=name,
            flavor=FLAVOR,
            image=an_image("one"),
            wishes=(PortWish(NetworkId("net-1")),),
        )
        await self.ask(accept_create, msgspec.structs.replace(new, **changes))
        self.servers.append(new.id)
        return new.id

    async def created(self, name: str = "server", **changes: Any) -> ServerId:
        server = await self.create(name, **changes)
        await self.all_done()
        assert (await self.get(server)).vm_state is VmState.ACTIVE, (await self.get(server)).fault
        return server

    async def all_done(self, limit_s: float = 1200.0) -> None:
        """Wait until no operation is active or waits, but for a host without power: until that is switched on."""
        some = select(operations.c.story, operations.c.server).where(operations.c.state.in_(("active", "queued")))
        if not all(host.powered for host in self.cloud.every_host()):
            some = some.where(operations.c.story != CLEAR_AWAY.name)
        await self.until_none(lambda tx: tx.execute(some).all(), limit_s)

    async def mend(self) -> None:
        """Have everything run that was killed or lost its power, and what is looked over now and then be so."""
        cloud = self.cloud
        await cloud.until(lambda: not cloud.to_come)
        await cloud.until(cloud.all_alive)
        for name in [*cloud.hosts, *cloud.storage_hosts]:
            if not cloud.any_host(name).powered:
                await cloud.power_on(name)
        await self.all_up()
        await self.all_done()
        cloud.taps.armed = False  # what follows is no longer the operation's
        await self.all_up()
        await self.until_none(rights.debtors)
        await self.until_none(volumes.unconfirmed)
        await cloud.clock.sleep(2)  # for what is tried again
        while await self.look_over():
            await self.all_done()
        await self.until_none(lambda tx: notices.oldest(tx, 1))
        runners = [one.controller.runner for one in cloud.controllers.values() if one.controller is not None]
        await cloud.until(lambda: not any(runner.running for runner in runners), 30)

    async def all_up(self) -> None:
        await self.cloud.until(self.cloud.all_alive)
        for host in self.cloud.every_host():
            await self.host_up(host.name)

    async def until_none(self, find: Callable[[Tx], Sequence[Any]], limit_s: float = 300.0) -> None:
        """Wait until nothing of the kind is in the database."""
        deadline = self.cloud.clock.monotonic() + limit_s
        while left := await self.cloud.database.read(find):
            if self.cloud.clock.monotonic() > deadline:
                raise TimeoutError(f"still there: {left}")
            await self.cloud.clock.sleep(LOOK_S)

    async def check(self, tolerating: tuple[str, ...] = ()) -> None:
        """Assert what must hold whenever a cloud is calm, and that no guest ran twice before.

        `tolerating`: with what sentences begin that may be true.
        """
        wrong = await self.cloud.database.read(lambda tx: list(disagreements(self.cloud, tx, ())))
        wrong = [each for each in wrong if not each.startswith(tolerating)]
        assert not wrong, "\n".join(wrong)
        assert not self.cloud.ran_twice, self.cloud.ran_twice
        assert not self.cloud.ended, self.cloud.ended

    async def look_over(self) -> int:
        """Have every duty done; returns how much they have mended."""
        mended = 0
        (controller, *_) = self.cloud.controllers.values()
        rounds = controller.cloud.rounds
        assert rounds is not None
        for duty in rounds.duties:
            await self.cloud.until(lambda: controller.controller is not None)
            with suppress(Gone, NotNow):
                mended += (await controller.ask(partial(_do, duty=duty))).mended
        return mended


async def _do(cloud: Cloud, duty: str) -> Round:
    assert cloud.rounds is not None
    return await cloud.rounds.do(duty)
