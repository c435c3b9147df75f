"""A guard for tests that run an agent of their own: none starts a guest without."""

import asyncio
from collections.abc import Callable, Sequence

from renova.agent.service import Agent
from renova.guard.page import MemoryPage
from renova.guard.service import Guard
from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.simulation.channel import Line
from renova.uplink.connection import Dialer


def guard_beside(
    name: str,
    clock: Clock,
    chance: Chance,
    dialers: Sequence[Dialer],
    *,
    boot: str,
    dialer_to: Callable[[str], Dialer] | None = None,
) -> tuple[Guard, Line]:
    """Return a guard, and the line by which the agent beside it reaches it."""
    guard = Guard(name, MemoryPage(), clock, chance, dialers, boot=boot, dialer_to=dialer_to)
    return guard, Line(guard.serve_agent, "guard")


async def run_host(agent: Agent, guard: Guard) -> None:
    """Run both processes of a host until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(guard.run())
        group.create_task(agent.run())
