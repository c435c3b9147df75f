"""Every kind of fault strikes, counts when it did, and mends what it did; and all follows from the seed."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import pytest

from renova.model.chance import SeededChance
from renova.model.ids import ServerId
from renova.simulation.fault_kinds import KINDS
from renova.simulation.faults import FAULTS, Injector, Kind
from renova.simulation.front import Front
from renova.simulation.history import History, quiet_logs
from renova.simulation.loop import run_virtual
from renova.simulation.receiver import Receiver
from renova.simulation.run import _Eyes
from renova.simulation.surroundings import Users, watched_images
from renova.simulation.workload import CONTENT, IMAGES, Workload
from renova.simulation.world import World

TRIES = 100  # of a kind that needs something to strike: an export, a command on its way
TWICE = """
from renova.simulation.run import run, short
print(run(short(7, minutes=0.5)).digest)
"""


def whole(world: World) -> list[str]:
    """Say what is not as it should be, when all is mended."""
    wrong = []
    for name, one in world.controllers.items():
        if one.process is None or not one.process.runs:
            wrong.append(f"{name} does not run")
        elif world.link_of(name).away:
            wrong.append(f"{name} is cut off from the database")
    for armed in world.hosts.values():
        if armed.gate is not None and (armed.gate.sticks or armed.gate.immortal):
            wrong.append(f"the gate of {armed.name} is not mended")
    for host in world.every_host():
        if host.agent is None or not host.agent.runs or not host.powered:
            wrong.append(f"{host.name} does not run")
        disk = world.disk_of(host.name)
        if disk.slow_s or disk.failing:
            wrong.append(f"the disk of {host.name} is not mended")
        for line in host.lines.values():
            for way in (line.to_controller, line.to_host):
                if way.cut or way.delay_s or way.fate is not None:
                    wrong.append(f"the line of {host.name} to {line.address} is not mended")
    data, switches = world.data, world.switches
    if data.away or data.full or data.slow_s or data.hitches or data.lagging is not None:
        wrong.append("the database is not mended")
    if switches.lying or switches.hanging or switches.refusing:
        wrong.append("a power controller is not mended")
    if world.witness is not None and (world.witness.cut or world.witness.slow_s):
        wrong.append("the witness is not mended")
    if isinstance(world.sink, Receiver) and (world.sink.away or world.sink.loses_answer is not None):
        wrong.append("the receiver of events is not mended")
    return wrong


@pytest.mark.slow
def test_every_kind_of_fault_strikes_counts_and_is_mended() -> None:
    async def main() -> None:
        sink = Receiver(SeededChance(5), lambda _event: None)
        world = World(seed=5, count=3, storage_count=1, sink=sink, armed=True, witnessed=True)
        world.identity = Users()
        for image in watched_images(IMAGES, ("none", "pause"), CONTENT):
            world.images.have(image, CONTENT)
        await world.up()
        world.armed = False
        await world.add_host("host4", "10.1.0.4", world.hosts["host1"].storage)
        front = Front(list(world.controllers.values()))
        history = History(asyncio.get_running_loop().time)
        workload = Workload(front, world.clock, history, _Eyes(world), seed=5, servers=4, pause_s=0.2)
        await workload.prepare()
        users = asyncio.get_running_loop().create_task(workload.run(1), name="users")
        injector = Injector(world, KINDS, pace=0.1)
        unfired = []
        for kind in KINDS:
            asks_power = kind.name.startswith("power controller")
            for _ in range(TRIES):
                for line in [line for host in world.hosts.values() for line in host.lines.values() if asks_power]:
                    line.cut()  # nobody asks for the power of a host that is heard
                striking = injector.strike(kind)
                await asyncio.sleep(8 if asks_power else 0.2)
                for line in [line for host in world.hosts.values() for line in host.lines.values() if asks_power]:
                    line.heal()
                if striking is not None:
                    await injector.mend()
                    assert whole(world) == [], kind.name
                if injector.fired[kind.name]:
                    break
            else:
                unfired.append(kind.name)
        assert unfired == []
        assert injector.missing == []
        assert injector.events == sum(injector.fired.values())
        workload.stop()
        await users
        await world.down()

    with quiet_logs():
        run_virtual(main())


def struck(kinds: Sequence[Kind]) -> list[str]:
    """Tell what strikes a world that has no receiver of events, when."""
    told: list[str] = []

    async def main() -> None:
        world = World(seed=3, count=2, storage_count=0, controller_count=1)
        await world.up()
        loop = asyncio.get_running_loop()
        world.listeners.append(lambda event: told.append(f"{loop.time()} {event}"))
        injector = Injector(world, kinds)
        striking = loop.create_task(injector.run())
        await asyncio.sleep(20)
        striking.cancel()
        await injector.mend()
        await world.down()

    with quiet_logs():
        run_virtual(main())
    return told


def test_what_a_chance_of_its_own_draws_changes_nothing_about_the_others() -> None:
    assert len(struck(KINDS)) > 10
    assert struck(KINDS) == struck([kind for kind in KINDS if kind.drawn_by == FAULTS])


def test_a_fault_strikes_no_target_that_suffers_already() -> None:
    async def main() -> None:
        world = World(seed=1, count=1, storage_count=0, controller_count=1)
        await world.up()
        injector = Injector(world, KINDS)
        (kill,) = [kind for kind in KINDS if kind.name == "agent killed"]
        (freeze,) = [kind for kind in KINDS if kind.name == "agent frozen"]
        assert injector.strike(kill) is not None
        await asyncio.sleep(0)
        assert injector.strike(freeze) is None
        await injector.mend()
        assert injector.fired == Counter({"agent killed": 1})
        assert world.running(ServerId("none")) == []
        await world.down()

    with quiet_logs():
        run_virtual(main())


@pytest.mark.slow
def test_the_same_seed_tells_the_same_history_whatever_texts_hash_to() -> None:
    def digest(hash_seed: int) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
        command = [sys.executable, "-c", TWICE]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    digests = {digest(hash_seed) for hash_seed in (1, 2)}
    assert len(digests) == 1
    assert len(digests.pop().strip()) > 10
