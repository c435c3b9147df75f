"""The reader: looks into the witness for the guard of its host, whenever that asks.

A process of its own, for storage that is away can hold up whoever reads it for any time, and the guard has a deadline
to meet. Its answer counts from when it was asked, so one that hangs, stands still or is late prolongs nothing; one that
is gone is missed only while the control plane is away, too.
"""

import structlog

from renova.model.channel import Channel, Closed
from renova.model.clock import Clock
from renova.model.errors import Broken, NotNow
from renova.uplink.connection import LocalDialer
from renova.uplink.local import Look, Seen, decode_to_reader
from renova.wire.frames import encode
from renova.witness import LeaseName, Witness

log = structlog.get_logger()

AGAIN_S = 1.0  # until a guard that is not there is called again


class Reader:
    """Reads `witness` for the guard behind `guard`."""

    def __init__(self, guard: LocalDialer, witness: Witness, clock: Clock) -> None:
        self._guard = guard
        self._witness = witness
        self._clock = clock
        self._trouble = ""

    async def run(self) -> None:
        """Read for whatever guard is there, until cancelled."""
        while True:
            try:
                await self._serve(await self._guard.dial())
            except (NotNow, Closed):
                pass  # the service manager starts the guard anew
            except Broken as error:
                log.error("guard not understood", reason=str(error))
            await self._clock.sleep(AGAIN_S)

    async def _serve(self, channel: Channel) -> None:
        try:
            async for frame in channel.frames():
                await channel.send(encode(await self._answer(decode_to_reader(frame))))
        finally:
            await channel.close()

    async def _answer(self, look: Look) -> Seen:
        try:
            shown = await self._witness.read(LeaseName(look.host, look.era, look.epoch))
        except NotNow as error:
            self._note(str(error))
            return Seen(nonce=look.nonce, why_not=str(error))
        self._note("")
        return Seen(nonce=look.nonce, word=shown.word, revoked=shown.revoked)

    def _note(self, trouble: str) -> None:
        if trouble and not self._trouble:
            log.warning("witness not read", reason=trouble)
        elif self._trouble and not trouble:
            log.info("witness read")
        self._trouble = trouble
