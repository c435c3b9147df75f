"""Asks other hosts' guards over UDP whether they have a lease, and answers them.

A question is eight bytes of chance, the answer the same and one more: 1 for a lease, 0 for none. Nothing secret is
said, and no safety rests on it (`neighbours`); who is not asked to be believed needs no certificate.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from renova.guard.neighbours import control_plane_ails
from renova.model.chance import Chance
from renova.model.clock import Clock

log = structlog.get_logger()

WAIT_S = 1.0  # for answers
QUESTION = 8  # bytes


class DatagramNeighbours(asyncio.DatagramProtocol):
    """The other hosts' guards, each at the same `port` of its host's address."""

    def __init__(self, address: str, port: int, clock: Clock, chance: Chance) -> None:
        self._address, self._port = address, port
        self._clock = clock
        self._chance = chance
        self._others: tuple[str, ...] = ()
        self._transport: asyncio.DatagramTransport | None = None
        self._holds: Callable[[], bool] = lambda: False
        self._asked = b""
        self._answers: dict[str, bool] = {}

    def take(self, addresses: Sequence[str]) -> None:
        self._others = tuple(address for address in addresses if address != self._address)

    async def serve(self, holds: Callable[[], bool]) -> None:
        self._holds = holds
        try:
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: self, local_addr=(self._address, self._port)
            )
        except OSError as error:
            # Then this host counts as cut off whenever it has no lease: that kills guests sooner, and no more.
            log.error("guards of other hosts not asked", port=self._port, reason=error.strerror)
            return
        self._transport = transport
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            transport.close()

    async def lack_leases(self) -> bool:
        if self._transport is None or not self._others:
            return False
        self._asked, self._answers = self._chance.uuid().encode()[:QUESTION], {}
        for address in self._others:
            self._transport.sendto(self._asked, (address, self._port))
        await self._clock.sleep(WAIT_S)
        lacking = sum(not has for has in self._answers.values())
        return control_plane_ails(lacking, len(self._answers))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(data) == QUESTION and self._transport is not None:
            self._transport.sendto(data + (b"\1" if self._holds() else b"\0"), addr)
        elif len(data) == QUESTION + 1 and data[:QUESTION] == self._asked and addr[0] in self._others:
            self._answers[addr[0]] = data[QUESTION:] == b"\1"

    def error_received(self, exc: Exception) -> None:
        """One that is away does not answer: that says enough."""
