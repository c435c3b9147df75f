"""How an agent's calls reach the simulated hypervisor: witnessed, failed on purpose, served though it die."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import wraps
from typing import Any, TypeVar, cast

from renova.drivers.blocking import to_its_end
from renova.drivers.hypervisor.simulated.machine import SimulatedMachine
from renova.model.guest import Guest
from renova.model.ids import ServerId

Call = TypeVar("Call", bound=Callable[..., Coroutine[Any, Any, Any]])


def change(call: Call) -> Call:
    """Tell the witness of a call by which the agent changes a guest."""
    name = call.__name__

    @wraps(call)
    async def told(self: SimulatedMachine, what: Any, *arguments: Any, **options: Any) -> Any:
        guest = what if isinstance(what, Guest) else None
        server = guest.server if guest else what
        witness = self.witness
        witness.begins(name, server, guest)
        try:
            if self.on_call is None:
                return await call(self, what, *arguments, **options)
            await self.on_call(f"before {name}")
            result = await call(self, what, *arguments, **options)
            await self.on_call(f"after {name}")
            return result
        finally:
            witness.ends(name, server)

    return cast(Call, told)


def served(call: Call) -> Call:
    """Have the hypervisor do it in a process of its own, one call of a guest after the other, though the caller die."""

    @wraps(call)
    async def asked(self: SimulatedMachine, what: Any, *arguments: Any, **options: Any) -> Any:
        server = what.server if isinstance(what, Guest) else what
        serving = asyncio.get_running_loop().create_task(
            _serve(self, server, call(self, what, *arguments, **options)), context=Context()
        )
        serving.add_done_callback(lambda done: done.cancelled() or done.exception())  # whoever asked may be gone
        return await to_its_end(serving)

    return cast(Call, asked)


async def _serve(machine: SimulatedMachine, server: ServerId, call: Coroutine[Any, Any, Any]) -> Any:
    power_cuts, job = machine.power_cuts, machine.jobs.setdefault(server, asyncio.Lock())
    try:
        async with job:
            machine.reach(power_cuts)
            return await call
    finally:
        call.close()  # if it was not begun
