"""Does the controller at the other end still run? Asked over a connection that nothing else would be said on."""

import asyncio
from contextlib import suppress

from renova.model.channel import Closed
from renova.uplink.session import Session

# Seconds between a ping's answer and the next ping, and for its answer: a home that froze is left after their sum at
# most, which with the next home's first message stays below 2 s.
PING_EVERY_S, PONG_S = 0.75, 1.0


async def answers(session: Session) -> bool:
    """Say whether it answered in time."""
    with suppress(TimeoutError, Closed):
        async with asyncio.timeout(PONG_S):
            await session.ping()
            return True
    return False
