"""The end of a WebSocket between a host and a controller, which neither end may wait for without a limit."""

import asyncio

from websockets.asyncio.connection import Connection


async def hang_up(connection: Connection, close_s: float) -> None:
    """Close the connection; the other end has `close_s` to take what was sent, and as long to hang up, too."""
    try:
        async with asyncio.timeout(2 * close_s):
            await connection.close()
    except TimeoutError:  # it reads nothing, so it does not hear that this is the end
        connection.transport.abort()
