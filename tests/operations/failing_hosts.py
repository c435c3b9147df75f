"""Parts that fail, hosts that cannot start a guest, and hosts that die under one."""

import asyncio
from collections.abc import Callable
from typing import Any

from renova.model.errors import Broken, CloudError, Refused
from renova.model.ids import ServerId
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.simulation.cloud import SimulatedCloud
from tests.operations.story import Told


def fails(part: object, method: str, error: CloudError) -> Callable[[], None]:
    """Have a method of a part raise this, until what is returned is called."""
    really = getattr(part, method)

    async def fail(*_arguments: object, **_options: object) -> object:
        raise type(error)(*error.args)  # another each time: one would keep the tracebacks of all its raises

    setattr(part, method, fail)
    return lambda: setattr(part, method, really)


def break_start(cloud: SimulatedCloud, name: str, error: Exception) -> None:
    """Have the hypervisor of a host fail to start any guest, or to define one that is to be off."""
    hypervisor = cloud.hosts[name].hypervisor

    async def fail(_guest: object) -> object:
        raise error

    hypervisor.start = hypervisor.define = fail  # type: ignore[assignment,method-assign]


async def dead_host_of(told: Told, server: ServerId) -> str:
    """Cut the power of the server's host and have it proven dead."""
    row = await told.get(server)
    await told.cloud.cut_power(row.host_name or "")
    await told.cloud.until(lambda: not told.cloud.cloud.hosts.up(row.host))
    assert await told.cloud.cloud.hosts.seek_proof(row.host)
    return row.host_name or ""


async def evacuating(told: Told) -> tuple[ServerId, str]:
    """Have a server on its way from its dead host to another; returns it, and the dead one's name."""
    server = await told.created()
    source = await dead_host_of(told, server)
    await told.ask(accept_evacuate, server, Evacuation())
    return server, source


def ends_its_agent(told: Told, name: str) -> asyncio.Event:
    """Have the host's agent end as it is to end a guest; what is returned is set then."""
    hypervisor: Any = told.cloud.hosts[name].hypervisor
    really, ended = hypervisor.kill, asyncio.Event()

    async def kill(_server: ServerId) -> None:
        hypervisor.kill = really
        told.cloud.end_agent(name)
        ended.set()
        await asyncio.get_running_loop().create_future()

    hypervisor.kill = kill
    return ended


def ends_nothing(told: Told, *names: str) -> Callable[[], None]:
    """Have these hosts start guests, say that they did not, and fail to end them; what is returned mends them."""
    hypervisors: list[Any] = [told.cloud.hosts[name].hypervisor for name in names]
    really = [(each.start, each.kill) for each in hypervisors]
    for each in hypervisors:

        async def start(guest: object, started: Any = each.start) -> None:
            await started(guest)
            raise Refused("it went wrong in the end")

        async def kill(_server: ServerId) -> None:
            raise Broken("it does not die")

        each.start, each.kill = start, kill

    def mend() -> None:
        for each, (start, kill) in zip(hypervisors, really, strict=True):
            each.start, each.kill = start, kill

    return mend


async def evacuated(told: Told, server: ServerId) -> str:
    """Evacuate the server, and return the host that it came from."""
    source = await dead_host_of(told, server)
    await told.ask(accept_evacuate, server, Evacuation())
    await told.idle(server)
    return source
