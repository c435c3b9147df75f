"""The witness is slow and away, for one or for all; and those who read it for the guards are killed and stand still."""

from collections.abc import Sequence

from renova.simulation.fault_kinds import targets
from renova.simulation.faults import RESTART_S, Kind, Striking
from renova.simulation.world import World

DRAWN_BY = "witness faults"


def _machines(world: World) -> list[str]:
    """Name the machines that reach for the witness."""
    return [] if world.witness is None else [*world.controllers, *world.hosts]


def to_witness(world: World) -> Sequence[str]:
    return [f"the way to the witness of {name}" for name in _machines(world)]


def witness(world: World) -> Sequence[str]:
    return [] if world.witness is None else ["the witness"]


async def cut_off(striking: Striking) -> None:
    await _cut(striking, [striking.target.rsplit(" ", 1)[1]])


async def away(striking: Striking) -> None:
    await _cut(striking, _machines(striking.world))


async def _cut(striking: Striking, machines: Sequence[str]) -> None:
    storage = striking.world.witness
    assert storage is not None
    storage.cut.update(machines)
    storage.struck = striking.fired
    await striking.wait_either((0.5, 4.0), (10.0, 60.0))
    for machine in machines:
        storage.heal(machine)
    striking.mended()


async def slow(striking: Striking) -> None:
    storage = striking.world.witness
    assert storage is not None
    storage.slow_s = striking.chance.uniform(0.1, 4.0)
    storage.struck = striking.fired
    await striking.wait(5.0, 30.0)
    storage.slow_s = 0.0
    striking.mended()


async def kill_reader(striking: Striking) -> None:
    world, name = striking.world, striking.target.rsplit(" ", 1)[1]
    world.end_reader(name)
    striking.fired()
    await striking.wait(*RESTART_S)
    world.start_reader(name)
    striking.mended()


async def freeze_reader(striking: Striking) -> None:
    world, name = striking.world, striking.target.rsplit(" ", 1)[1]
    if not world.freeze_reader(name):
        return
    striking.fired()
    await striking.wait_either((0.1, 4.0), (5.0, 40.0))
    world.thaw_reader(name)
    striking.mended()


KINDS = (
    Kind("witness cut off from one", to_witness, cut_off, 1.5, drawn_by=DRAWN_BY),
    Kind("witness away", witness, away, 0.5, drawn_by=DRAWN_BY),
    Kind("witness slow", witness, slow, 0.5, drawn_by=DRAWN_BY),
    Kind("reader of the witness killed", targets.readers, kill_reader, drawn_by=DRAWN_BY),
    Kind("reader of the witness frozen", targets.readers, freeze_reader, drawn_by=DRAWN_BY),
)
