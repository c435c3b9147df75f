"""Where the controllers are: those that were configured, and those that controllers have told of since.

What is told replaces what was told before, and is kept on disk: an agent that starts while the configured controllers
are away still finds the others. Whoever is told of tells no more than an address: only a certificate of the cloud's
authority makes it a controller.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from renova.drivers.blocking import in_thread
from renova.durable import DAMAGED, write_whole
from renova.model.clock import Clock
from renova.model.errors import BadSetup
from renova.uplink.connection import Dialer

log = structlog.get_logger()

MOST = 32  # controllers that are told of; no cloud has more
LINGER_S = 600.0  # for which one that is no longer told of is dialled: it may only be restarting
_ADDRESS = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}:[0-9]{1,5}")


class AddressBook(Protocol):
    """Keeps the addresses that were told. Losing them harms nobody as long as the configured ones are right."""

    async def read(self) -> tuple[str, ...]: ...
    async def write(self, addresses: tuple[str, ...]) -> None: ...


class MemoryBook:
    """Survives the agent, as a file survives a process."""

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()

    async def read(self) -> tuple[str, ...]:
        return self.addresses

    async def write(self, addresses: tuple[str, ...]) -> None:
        self.addresses = addresses


class FileBook:
    """A file in the host's state directory, beside the identity; the guard has one of its own."""

    def __init__(self, state_dir: Path, name: str = "controllers.json") -> None:
        self._path = state_dir / name

    async def read(self) -> tuple[str, ...]:
        return await in_thread(None, self._read)

    async def write(self, addresses: tuple[str, ...]) -> None:
        await in_thread(None, self._write, addresses)

    def _read(self) -> tuple[str, ...]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=tuple[str, ...])
        except FileNotFoundError:
            return ()
        except (OSError, *DAMAGED) as error:
            log.warning("addresses of controllers not read", path=str(self._path), reason=str(error))
            return ()

    def _write(self, addresses: tuple[str, ...]) -> None:
        try:
            write_whole(self._path, msgspec.json.encode(addresses))
        except OSError as error:
            log.warning("addresses of controllers not kept", path=str(self._path), reason=error.strerror)


class KnownControllers:
    """Decides who is dialled. `configured` ones always are; others, reached by `dialer_to`, while they are told of."""

    def __init__(
        self,
        configured: Sequence[Dialer],
        dialer_to: Callable[[str], Dialer] | None,
        book: AddressBook,
        clock: Clock,
    ) -> None:
        self._configured = {dialer.address: dialer for dialer in configured}
        self._dialer_to = dialer_to
        self._book = book
        self._clock = clock
        self._told: tuple[str, ...] = ()
        self._gone: dict[str, float] = {}  # when each was told of last
        self._changed = asyncio.Event()

    async def tell(self, addresses: tuple[str, ...]) -> None:
        """Take the addresses of all controllers that live; an empty list says nothing."""
        good = tuple(sorted({address for address in addresses if _ADDRESS.fullmatch(address)}))[:MOST]
        if not good or good == self._told:
            return
        log.info("controllers told", addresses=good)
        self._take(good)
        await self._book.write(good)

    def wanted(self, address: str) -> bool:
        """Say whether the controller at this address is to be dialled."""
        if address in self._configured or address in self._told:
            return True
        return self._clock.monotonic() - self._gone.get(address, float("-inf")) < LINGER_S

    async def serve(self, keep_connected: Callable[[Dialer], Coroutine[Any, Any, None]]) -> None:
        """Have `keep_connected` run for each controller that is wanted, until cancelled; it returns for others."""
        self._take(await self._book.read())
        kept: set[str] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                for address, dialer in self._missing(kept).items():
                    kept.add(address)
                    task = group.create_task(keep_connected(dialer), name=f"controller-{address}")
                    task.add_done_callback(partial(self._left, kept, address))
                await self._changed.wait()

    def _take(self, addresses: tuple[str, ...]) -> None:
        now = self._clock.monotonic()
        self._gone = {address: at for address, at in self._gone.items() if now - at < LINGER_S}
        self._gone |= dict.fromkeys(set(self._told) - set(addresses), now)
        self._told = addresses
        self._changed.set()

    def _missing(self, kept: set[str]) -> dict[str, Dialer]:
        missing = {address: dialer for address, dialer in self._configured.items() if address not in kept}
        for address in self._told:
            if address not in kept and address not in missing and self._dialer_to is not None:
                try:
                    missing[address] = self._dialer_to(address)
                except BadSetup as error:  # which the configured ones run into, too, and say
                    log.warning("controller not dialled", controller=address, reason=str(error))
        return missing

    def _left(self, kept: set[str], address: str, _ended: asyncio.Task[None]) -> None:
        kept.discard(address)
        self._changed.set()
