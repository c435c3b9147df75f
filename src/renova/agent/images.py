"""Images, read from the controllers over the agent's own connections, a piece at a time.

The hypervisor driver reads from here when an image is not cached yet, and checks what it gets: size and checksum
travel with the guest. A connection that breaks in the middle costs nothing: the next one goes on at the same byte.
"""

import asyncio
from collections.abc import AsyncIterator

import structlog

from renova.agent.session import AgentSession, AgentSessions
from renova.model.channel import Closed
from renova.model.clock import Clock
from renova.model.errors import NotNow, Refused
from renova.model.ids import ImageId

log = structlog.get_logger()

IN_FLIGHT = 4  # pieces asked for at the same time, of all images: each is up to 1 MiB of memory
PIECE_S = 20.0  # a controller that gives nothing for so long is not waited for
PATIENCE_S = 60.0  # without progress, until the image is given up
PAUSE_S = 0.5  # after a controller said that it cannot give the image now


class Images:
    """The host's `ImageSource`."""

    def __init__(self, sessions: AgentSessions, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)

    async def read(self, image: ImageId) -> AsyncIterator[bytes]:
        """Yield the image's bytes in order. `Refused` if it is not to be had, `NotNow` if no controller gives it."""
        offset = 0
        session: AgentSession | None = None
        while True:
            data, session = await self._piece(image, offset, session)
            if not data:
                return
            yield data
            offset += len(data)

    async def _piece(self, image: ImageId, offset: int, session: AgentSession | None) -> tuple[bytes, AgentSession]:
        """Return the piece and who gave it: `session` if it can, which gave the one before."""
        reason = "no controller is connected"
        try:
            async with asyncio.timeout(PATIENCE_S):
                if session is None or session.ended:
                    session = await self._sessions.one(after=session)
                while True:
                    try:
                        async with self._in_flight, asyncio.timeout(PIECE_S):
                            piece = await session.piece(image, offset)
                    except (Closed, TimeoutError):
                        reason = f"{session.address} did not answer"
                    else:
                        if piece.error is None:
                            return piece.data, session
                        if piece.why == "refused":
                            raise Refused(f"image {image}: {piece.error}")
                        reason = f"{session.address}: {piece.error}"
                        await self._clock.sleep(PAUSE_S)
                    log.info("image not read", image=image, offset=offset, reason=reason)
                    session = await self._sessions.one(after=session)
        except TimeoutError as error:
            raise NotNow(f"image {image} cannot be read from a controller", details=reason) from error
