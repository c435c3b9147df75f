"""Power controllers lie, hang and refuse."""

from collections.abc import Callable

from renova.simulation.fault_kinds import targets
from renova.simulation.faults import Kind, Striking


async def lie(striking: Striking) -> None:
    await _spoil(striking, striking.world.switches.lying)


async def hang(striking: Striking) -> None:
    await _spoil(striking, striking.world.switches.hanging)


async def refuse(striking: Striking) -> None:
    await _spoil(striking, striking.world.switches.refusing)


async def _spoil(striking: Striking, spoilt: dict[str, Callable[[], None]]) -> None:
    host = striking.target.rsplit(" ", 1)[1]
    spoilt[host] = striking.fired
    await striking.wait(10.0, 60.0)
    del spoilt[host]
    striking.mended()


KINDS = (
    Kind("power controller lies", targets.power_controllers, lie),
    Kind("power controller hangs", targets.power_controllers, hang),
    Kind("power controller refuses", targets.power_controllers, refuse),
)
