"""Tells a scenario: makes the cloud and its servers, has happen what the timeline says, and returns the log."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from renova.drivers.hypervisor.simulated.machine import SMALL_HOST
from renova.model.ids import ServerId
from renova.power import NoPower
from renova.simulation.front import COMPUTE, Front, Reply
from renova.simulation.history import History, listening, quiet_logs
from renova.simulation.loop import run_virtual
from renova.simulation.surroundings import ADMIN, Users, an_image
from renova.simulation.watch import Watch
from renova.simulation.world import World
from tests.scenarios import happenings
from tests.scenarios.log import Log
from tests.scenarios.timeline import Timeline, Wanted, read

HERE = Path(__file__).parent
IMAGE, CONTENT = "11111111-2222-4333-8444-555555555555", b"renova" * 100
BEGIN_S = 20.5  # by then all is well, and no renewal and no look is just under way
WATCH_S = 0.5
RATIO = 4  # virtual CPUs that a host offers for each of its own


def folders(root: Path = HERE) -> list[Path]:
    """Return the folders of all scenarios."""
    return sorted(path.parent for path in root.glob("*/timeline.toml"))


def expected(folder: Path) -> str:
    path = folder / "expected.log"
    return path.read_text() if path.exists() else ""


def renew(folder: Path, log: str) -> None:
    """Expect this log from now on."""
    if log != expected(folder):
        (folder / "expected.log").write_text(log)


def tell(folder: Path) -> tuple[str, list[str]]:
    """Return a scenario's log, and the history of all that its parts have logged."""
    told: tuple[str, list[str]] = "", []

    async def main() -> None:
        nonlocal told
        telling = Telling(read(folder / "timeline.toml"))
        told = await telling.tell(), telling.history.newest()

    with quiet_logs():
        run_virtual(main())
    return told


class Telling:
    """One scenario, being told: the stage of its happenings."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        settings = timeline.controller_settings
        self.world = World(
            count=timeline.hosts,
            storage_count=timeline.storage_hosts,
            controller_count=timeline.controllers,
            shared=timeline.shared,
            armed=timeline.armed,
            watchdogs=timeline.watchdogs,
            switchable=timeline.power == "switches",
            settings=settings,
            facts=replace(SMALL_HOST, vcpus=max(timeline.room // RATIO, 1)),
            # Nothing takes time but what waits, and guests that start: so the log has the product's own times.
            start_s=1.0,
            drift=0.0,
            latency_s=0.0,
            database_latency_s=0.0,
        )
        if timeline.power == "none":
            self.world.power = NoPower()
        self.world.identity = Users()
        self.world.images.have(an_image(IMAGE, CONTENT, properties=timeline.image), CONTENT)
        self.history = History(self.world.clock.monotonic)
        self.watch = Watch(self.world, self.history, settings)
        self.servers: dict[ServerId, str] = {}
        self.log = Log(self.world, self.history, self.servers)
        self._front = Front(list(self.world.controllers.values()))

    async def tell(self) -> str:
        """Tell it to its end; raises what breaks an invariant, with the log so far."""
        with listening(self.history):
            try:
                await self.watch.unless_broken(self._whole())
            except Exception as error:
                error.add_note(self.log.text)
                raise
        return self.log.text

    async def _whole(self) -> None:
        acts = [
            (moment.seconds, sentence, partial(effect, self, *whom))
            for moment in self.timeline.at
            for sentence in moment.happens
            for effect, whom in [happenings.find(sentence)]
        ]
        await self.world.up()
        self.watch.begin()
        for host in self.world.every_host():
            self.history.call(host.id, host.name)
        await self._create_servers()
        await self.world.clock.sleep(BEGIN_S - self.world.clock.monotonic())
        await self.log.begin()
        self.watch.committed.append(self.log.committed)
        async with asyncio.TaskGroup() as group:
            watching: list[asyncio.Task[None]] = [group.create_task(self._look()), group.create_task(self.log.follow())]
            await self._play(acts)
            for task in watching:
                task.cancel()
        await self.world.down()

    async def _play(self, acts: Sequence[tuple[float, str, Callable[[], Awaitable[None]]]]) -> None:
        for seconds, sentence, act in acts:
            await self._until(seconds)
            self.log.note(">", sentence)
            await act()
            await self.log.look()
        await self._until(self.timeline.until)

    async def _until(self, seconds: float) -> None:
        left = BEGIN_S + seconds - self.world.clock.monotonic()
        assert left >= 0, "a timeline goes on in time"
        await self.world.clock.sleep(left)

    async def _look(self) -> None:
        while True:
            self.watch.look()
            await asyncio.sleep(WATCH_S)

    async def add_host(self, name: str) -> None:
        """Have a new host, over the storage of the others."""
        storage = next(iter(self.world.hosts.values())).storage
        await self.world.add_host(name, f"10.1.0.{len(self.world.hosts) + 1}", storage)
        self.watch.watch_host(self.world.hosts[name])
        self.history.call(self.world.hosts[name].id, name)

    # --- its servers ---

    def server(self, name: str) -> ServerId:
        return next(server for server, called in self.servers.items() if called == name)

    async def _create_servers(self) -> None:
        flavor = {"name": "small", "id": "1", "ram": 128, "vcpus": 1, "disk": 1}
        await self._must("POST", f"{COMPUTE}/flavors", {"flavor": flavor})
        groups = {}
        for name, policy in self.timeline.groups.items():
            body = {"server_group": {"name": name, "policy": policy}}
            groups[name] = (await self._must("POST", f"{COMPUTE}/os-server-groups", body)).json()["server_group"]["id"]
        for name, wanted in self.timeline.wanted.items():
            await self._create(name, wanted, groups)

        def all_run() -> bool:
            return all(
                self.world.running(self.server(name)) == [each.on] for name, each in self.timeline.wanted.items()
            )

        await self.world.until(all_run, 30.0)

    async def _create(self, name: str, wanted: Wanted, groups: dict[str, str]) -> None:
        # A server may be wished after others, which are there already: these by their ids.
        ids = {called: str(server) for server, called in self.servers.items()}
        metadata = {key: ids.get(value, value) for key, value in wanted.metadata.items()}
        server: dict[str, Any] = {
            "name": name,
            "flavorRef": "1",
            "imageRef": IMAGE,
            "networks": "none",
            "host": wanted.on,
            "metadata": metadata,
        }
        if wanted.disk == "volume":
            server |= {"imageRef": "", "block_device_mapping_v2": [VOLUME]}
        body: dict[str, Any] = {"server": server}
        if wanted.group is not None:
            body["os:scheduler_hints"] = {"group": groups[wanted.group]}
        made = ServerId((await self._must("POST", f"{COMPUTE}/servers", body)).json()["server"]["id"])
        self.servers[made] = name
        self.history.call(made, name)

    # --- its people ---

    async def operator(self, method: str, path: str, body: Any = None) -> Any:
        reply = await self._front.ask(ADMIN, method, path, body)
        if method != "GET":
            self.log.note("operator", f"answered {reply.status}{'' if reply.accepted else ': ' + _reason(reply)}")
        return reply.json() if reply.body else None

    async def _must(self, method: str, path: str, body: Any) -> Reply:
        reply = await self._front.ask(ADMIN, method, path, body)
        assert reply.accepted, (path, reply)
        return reply


VOLUME = {
    "boot_index": 0,
    "uuid": IMAGE,
    "source_type": "image",
    "destination_type": "volume",
    "volume_size": 1,
    "delete_on_termination": True,
}


def _reason(reply: Reply) -> str:
    """Return what a refusal says: each API wraps it once."""
    found = reply.json()
    while isinstance(found, dict) and "message" not in found:
        found = next(iter(found.values()))
    return str(found["message"])
