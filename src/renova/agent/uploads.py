"""Images, sent to the controller that asks for them over the agent's own connection, a piece at a time."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

from renova.agent.session import AgentSessions
from renova.model.channel import Closed
from renova.model.errors import NotNow, Refused
from renova.model.ids import ImageId

PIECE_S = 60.0  # a controller that takes nothing for so long is not waited for


class Uploads:
    """What this host gives to the image service."""

    def __init__(self, sessions: AgentSessions) -> None:
        self._sessions = sessions

    async def send(self, session_id: str, image: ImageId, pieces: AsyncGenerator[bytes]) -> int:
        """Send the image to whoever asked for it over this session, and return its size in bytes.

        `Refused` when it is not wanted (any more), `NotNow` when the session ended: whoever asks again gets it anew.
        """
        digest, offset = hashlib.sha256(), 0
        async with aclosing(pieces):
            async for piece in pieces:
                digest.update(piece)
                await self._give(session_id, image, offset, piece)
                offset += len(piece)
        await self._give(session_id, image, offset, b"", digest.hexdigest())
        return offset

    async def _give(self, session_id: str, image: ImageId, offset: int, data: bytes, sha256: str = "") -> None:
        session = self._sessions.named(session_id)
        try:
            if session is None:
                raise Closed("the connection by which the image was asked for has ended")
            async with asyncio.timeout(PIECE_S):
                taken = await session.give(image, offset, data, sha256)
        except TimeoutError as error:
            raise NotNow(f"image {image} is not taken by the controller") from error
        if taken.error is not None:
            raise (Refused if taken.why == "refused" else NotNow)(f"image {image}: {taken.error}")
