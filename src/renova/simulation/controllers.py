"""Simulated controllers: each a process that can be frozen or killed, with a link of its own to the database."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from renova.controller import Controller
from renova.operations.cloud import Cloud
from renova.simulation.processes import Process, current
from renova.store.database import Database, Tx

T = TypeVar("T")


class Gone(Exception):
    """The connection to the controller broke before it answered: nobody knows what became of the request."""


@dataclass
class SimulatedController:
    """A controller by its name; `process` and `controller` are those of its present run."""

    name: str
    process: Process | None = None
    controller: Controller | None = None
    runs: int = 0

    @property
    def cloud(self) -> Cloud:
        assert self.controller is not None, f"{self.name} is down"
        return self.controller.cloud

    async def ask(self, request: Callable[[Cloud], Awaitable[T]]) -> T:
        """Serve a user's request in this controller; `Gone` when that is down, or dies before it has answered.

        A frozen one answers after its thaw; whoever does not want to wait so long cancels, and hears nothing.
        """
        process = self.process
        if process is None:
            raise Gone(f"{self.name} refuses the connection")
        cloud = self.cloud
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def serve() -> None:
            try:
                result = await request(cloud)
            except Exception as error:  # noqa: BLE001  (the user's: it is raised where the answer is awaited)
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(result)

        def hang_up() -> None:
            if not answer.done():
                answer.set_exception(Gone(f"{self.name} died"))

        process.at_end.append(hang_up)
        serving = process.spawn(serve(), f"request-{self.name}")
        try:
            return await answer
        finally:
            process.at_end.remove(hang_up)
            del serving


class Inside:
    """The database as a process has it that serves transactions inline: what follows a commit runs in that process.

    Tests submit operations from outside; what these begin must die with the controller all the same.
    """

    def __init__(self, process: Process, database: Database) -> None:
        self._process = process
        self._database = database

    async def transact(self, fn: Callable[[Tx], T]) -> T:
        if current() is self._process:
            return await self._database.transact(fn)

        def work(tx: Tx) -> T:
            result = fn(tx)
            tx.afterwards = [_in(self._process, call) for call in tx.afterwards]
            return result

        return await self._database.transact(work)

    async def read(self, fn: Callable[[Tx], T]) -> T:
        return await self._database.read(fn)

    def close(self) -> None:
        """It belongs to all; the cloud closes it."""


def _in(process: Process, call: Callable[[], None]) -> Callable[[], None]:
    return lambda: process.run(call)
