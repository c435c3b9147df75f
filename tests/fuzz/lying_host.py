"""A host that lies: enrolled, with a good certificate, it says to the real controller whatever it likes.

One episode: a simulated cloud of three hosts with servers; the agent of one is replaced by `Liar`. What must hold: the
controller lives; what is not the liar's stays as it was; a frame that is no message changes nothing at all; nothing is
left in memory; and the others can be worked with, as can the liar once it is honest again.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

import msgspec
import structlog
from sqlalchemy import TextClause, text

from renova.model.channel import Channel, Closed
from renova.model.errors import Broken, Conflict
from renova.model.ids import ServerId
from renova.model.server import VmState
from renova.operations.reboot import accept_reboot
from renova.simulation.loop import run_virtual
from renova.store import cluster, hosts, operations, servers
from renova.store.database import Tx
from renova.store.schema import metadata
from renova.wire.commands import Answer, Command
from renova.wire.frames import FromAgent, decode_from_agent, decode_from_controller
from renova.wire.images import Tidy
from renova.wire.leases import Renew, Renewed
from renova.wire.questions import Read
from renova.wire.results import Result
from renova.wire.sessions import Hello, Welcome
from renova.wire.storage import StorageCommand
from tests.fuzz.wire_values import Known, Messages, encoded
from tests.operations.story import Told

Row = tuple[Any, ...]
# What goes on by itself: leases are renewed, controllers count, events are told of.
LIVELY = {
    "hosts": {"last_seen", "updated_at"},
    "leases": {"counter", "home"},
    "cluster": {"tick", "hold", "held_at", "reported"},
    "providers": {"changed"},
    "provider_changes": {"number"},
}
NOT_COMPARED = {"executors", "posts", "notices", "duty_rounds"}
SAID_OF_LIARS = ("cluster on hold", "renewal not believed")
PATIENCE_S = 60.0


@dataclass
class Played:
    """What an episode came to."""

    messages: int = 0
    malformed: int = 0
    welcomed: int = 0
    holds: int = 0  # a host that knows more than the database puts the cluster on hold: by design, and it is named
    sent: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def add(self, other: "Played") -> None:
        self.messages += other.messages
        self.malformed += other.malformed
        self.welcomed += other.welcomed
        self.holds += other.holds
        self.faults += other.faults
        for kind, count in other.sent.items():
            self.sent[kind] = self.sent.get(kind, 0) + count


def play(random: Random, messages: int) -> Played:
    """Tell one episode in a cloud of its own."""
    with structlog.testing.capture_logs() as logs:
        played = run_virtual(_Episode(random).tell(messages), limit_s=1_000_000)
    played.faults += [f"logged: {line}" for line in logs if _unplanned(line)]
    return played


def _unplanned(line: Mapping[str, Any]) -> bool:
    return line["log_level"] in ("error", "critical") and line["event"] not in SAID_OF_LIARS


@cache
def _queries() -> list[tuple[str, int, TextClause]]:
    """Return each table's name, how many columns its key has, and the query: as text, for it is often asked."""
    found = []
    for table in metadata.sorted_tables:
        if table.name in NOT_COMPARED:
            continue
        key = [column.name for column in table.primary_key]
        rest = [each.name for each in table.columns if each.name not in {*key, *LIVELY.get(table.name, ())}]
        names = ", ".join(f'"{name}"' for name in (*key, *rest))
        found.append((table.name, len(key) or len(rest), text(f"select {names} from {table.name}")))
    return found


class _Episode:
    def __init__(self, random: Random) -> None:
        self._random = random
        self._known = Known()
        self._says = Messages(FromAgent, random, self._known)
        self._answers = Messages(Result, random, self._known)
        self._played = Played()
        self._channel: Channel | None = None
        self._listening: asyncio.Task[None] | None = None
        self._welcome: Welcome | None = None
        self._counter = 0

    async def tell(self, messages: int) -> Played:
        self._told = told = await Told(count=3, seed=self._random.randrange(1000)).begin()
        cloud = told.cloud
        made = [await told.created(f"server{number}") for number in range(5)]
        homes = {server: (await told.get(server)).host_name for server in made}
        self._liar = next(name for name in cloud.hosts if name in homes.values())
        self._id = cloud.hosts[self._liar].id
        mine = {server for server, home in homes.items() if home == self._liar}
        others = [server for server in made if server not in mine]
        await cloud.kill_agent(self._liar)
        await self._learn(made)
        await cloud.clock.sleep(10)
        marks = (self._id, self._liar, *mine)
        before = await self._rows()
        calm = len(asyncio.all_tasks())
        for _ in range(messages):
            await self._lie()
            if self._random.random() < 0.02:
                with suppress(Exception):  # whatever becomes of it, it is the liar's own server
                    await told.ask(accept_reboot, self._random.choice(sorted(mine)), hard=True)
        await self._be_silent()
        await cloud.clock.sleep(30)
        await self._go_on()
        self._compare(before, await self._rows(), marks)
        for server in mine:
            await self._let_go(server)
        self._expect(cloud.ended == [], f"the controller ended: {cloud.ended}")
        left = len(asyncio.all_tasks()) - calm
        self._expect(left <= 5, f"{left} tasks are left")
        await self._still_works(others)
        cloud.start_agent(self._liar)
        try:
            await told.host_up(self._liar, 120)
        except TimeoutError:
            self._played.faults.append("the host that lied cannot come back")
        await self._still_works(others)
        await cloud.down()
        return self._played

    async def _learn(self, made: list[ServerId]) -> None:
        """Know what a host can know, and more: the others' names and numbers."""

        def look(tx: Tx) -> None:
            for host in hosts.every(tx):
                lease = hosts.lease(tx, host.id)
                assert lease is not None
                self._known.texts += [host.id, host.name, host.address, host.boot, host.journal]
                self._known.numbers += [lease.epoch, lease.counter, lease.epoch + 1]

        await self._told.cloud.database.read(look)
        self._known.fields |= {"server": list(made), "below": [1, 2, 3, 100], "incarnation": [1, 2], "era": [0, 1]}
        self._known.texts += [*made, *self._told.cloud.images.images, "compute", "storage", "none"]

    # What it does.

    async def _lie(self) -> None:
        random = self._random
        if self._channel is None or random.random() < 0.05:
            await self._begin()
            return
        if random.random() < 0.15:
            await self._renew_honestly()
            return
        kind = random.choice(self._says.kinds)
        message = self._says.one(kind)
        if random.random() < 0.25:
            message = self._says.spoilt(message)
        frame = self._says.frame(message) if random.random() < 0.3 else encoded(message)
        await self._send(frame, kind.__name__)

    async def _begin(self) -> None:
        """Open a connection, and say hello: most often as one should."""
        await self._hang_up()
        with suppress(Exception):
            self._channel = await self._told.cloud.hosts[self._liar].lines["controller1"].dial()
        if self._channel is None:
            return
        self._listening = asyncio.get_running_loop().create_task(self._listen(self._channel))
        hello = self._says.one(Hello)
        if self._random.random() < 0.8:
            honest = msgspec.to_builtins(await self._honest_hello())
            lies = self._random.sample(sorted(honest), self._random.choice((0, 0, 0, 1, 2)))
            hello = honest | {name: hello[name] for name in lies if name in hello}
        await self._send(encoded(hello), "Hello")
        await self._told.cloud.clock.sleep(0.1)

    async def _honest_hello(self) -> Hello:
        host = self._told.cloud.hosts[self._liar]
        row, lease = await self._told.cloud.database.read(
            lambda tx: (hosts.get(tx, self._id), hosts.lease(tx, self._id))
        )
        assert row is not None
        assert lease is not None
        return Hello(
            name=self._liar,
            address=host.address,
            boot=row.boot,
            journal=row.journal,
            era=row.era,
            epoch=lease.epoch,
            facts=await host.hypervisor.facts() if row.facts is None else row.facts,
            guests=(),
        )

    async def _renew_honestly(self) -> None:
        if self._welcome is not None:
            lease = await self._told.cloud.database.read(lambda tx: hosts.lease(tx, self._id))
            assert lease is not None
            renewal = Renew(nonce=1, boot=lease.boot, era=self._welcome.era, epoch=lease.epoch, counter=lease.counter)
            await self._send(msgspec.msgpack.encode(renewal), "Renew")

    async def _send(self, frame: bytes, kind: str) -> None:
        channel = self._channel
        if channel is None:
            return
        malformed = _is_malformed(frame)
        before = await self._calm() if malformed else None
        self._played.messages += 1
        self._played.sent[kind] = self._played.sent.get(kind, 0) + 1
        try:
            await channel.send(frame)
        except Closed:
            self._channel = self._welcome = None
            return
        await self._told.cloud.clock.sleep(self._random.choice((0.0, 0.01, 0.05, 1.0)) if not malformed else 0.05)
        if before is not None:
            self._played.malformed += 1
            changed = _differences(before, await self._rows())
            self._expect(not changed, f"a frame that is no message changed {changed[:4]}: {frame[:200]!r}")
        await self._go_on()

    async def _go_on(self) -> None:
        """End a hold that a lie has begun, as an operator would who knows who lies."""
        standing = await self._told.cloud.database.read(cluster.get)
        if standing.hold is not None:
            self._played.holds += 1
            self._expect(self._liar in standing.hold, f"a hold that does not name who lies: {standing.hold}")
            await self._told.cloud.database.transact(cluster.end_hold)
            await self._told.cloud.clock.sleep(3)

    async def _listen(self, channel: Channel) -> None:
        """Hear what the controller says, and answer what it asks with whatever comes to mind."""
        async for frame in channel.frames():
            message = decode_from_controller(frame)
            match message:
                case Welcome():
                    self._played.welcomed += 1
                    self._welcome = message
                    self._known.texts.append(message.session)
                    self._known.numbers += [message.era, message.epoch]
                case Renewed():
                    self._counter = message.counter
                case Command() | StorageCommand() | Read() | Tidy():
                    self._known.numbers.append(message.id)
                    await self._answer(channel, message.id)
        if self._channel is channel:
            self._channel = self._welcome = None

    async def _answer(self, channel: Channel, number: int) -> None:
        answer = self._says.one(Answer) | {"id": number}
        if self._random.random() < 0.7:
            answer["result"] = self._answers.one()
        self._played.messages += 1
        self._played.sent["Answer"] = self._played.sent.get("Answer", 0) + 1
        with suppress(Closed):
            await channel.send(encoded(answer))

    async def _hang_up(self) -> None:
        if self._channel is not None:
            await self._channel.close()
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        self._channel = self._welcome = self._listening = None

    async def _be_silent(self) -> None:
        await self._hang_up()
        self._told.cloud.hosts[self._liar].lines["controller1"].reset()

    async def _let_go(self, server: ServerId) -> None:
        """Have no operation of the liar's servers under way any more: nobody answers for them."""

        def end(tx: Tx) -> None:
            held = operations.active(tx, server)
            if held is not None:
                operations.supersede(tx, held)
                servers.change(tx, server, task_state=None)

        await self._told.cloud.database.transact(end)

    # What must hold.

    def _expect(self, true: bool, says: str) -> None:
        if not true:
            self._played.faults.append(says)

    async def _rows(self) -> dict[str, dict[Any, Row]]:
        """Return all rows by table and primary key, without what is lively."""

        def read(tx: Tx) -> dict[str, dict[Any, Row]]:
            return {
                table: {row[:keys]: row for row in map(tuple, tx.execute(query))} for table, keys, query in _queries()
            }

        return await self._told.cloud.database.read(read)

    async def _calm(self) -> dict[str, dict[Any, Row]] | None:
        """Wait until nothing changes any more, and return everything; None while something is under way."""
        for _ in range(5):
            before = await self._rows()
            await self._told.cloud.clock.sleep(1.5)
            if before == await self._rows():
                return before
        return None

    def _compare(self, before: dict[str, Any], after: dict[str, Any], marks: tuple[str, ...]) -> None:
        for table, rows in before.items():
            for key, row in rows.items():
                if not any(mark in str(row) for mark in marks) and after[table].get(key) != row:
                    self._played.faults.append(f"{table} {key} is another's: {row} became {after[table].get(key)}")

    async def _still_works(self, others: list[ServerId]) -> None:
        """The other hosts are up, their guests run, and obey."""
        told, cloud = self._told, self._told.cloud
        honest = [name for name in cloud.hosts if name != self._liar]
        try:
            for name in honest:
                await told.host_up(name, PATIENCE_S)
        except TimeoutError:
            self._played.faults.append("another host is down")
            return
        for server in others:
            try:
                await told.ask(accept_reboot, server, hard=True)
                row = await told.idle(server)
            except (Conflict, TimeoutError) as error:
                self._played.faults.append(str(error))
                continue
            runs = row.vm_state is VmState.ACTIVE and cloud.running(server) == [row.host_name]
            self._expect(runs, f"a server of another host cannot be rebooted: {row.vm_state} {row.fault}")


def _differences(before: dict[str, dict[Any, Row]], after: dict[str, dict[Any, Row]]) -> list[str]:
    return [
        f"{table}: {rows.get(key)} became {after[table].get(key)}"
        for table, rows in before.items()
        for key in rows.keys() | after[table].keys()
        if rows.get(key) != after[table].get(key)
    ]


def _is_malformed(frame: bytes) -> bool:
    try:
        decode_from_agent(frame)
    except Broken:
        return True
    return False
