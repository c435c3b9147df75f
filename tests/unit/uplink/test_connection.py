"""A host's end of its connections, over real sockets."""

import asyncio

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from renova.wire.hanging_up import hang_up


async def test_a_connection_is_closed_though_the_other_end_reads_nothing() -> None:
    async def deaf(_connection: ServerConnection) -> None:
        await over.wait()

    over = asyncio.Event()
    server = await serve(deaf, "127.0.0.1", 0, compression=None, max_queue=1, close_timeout=0.1)
    at = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
    async with connect(at, compression=None, close_timeout=0.1) as connection:
        sending = [asyncio.ensure_future(connection.send(bytes(1 << 20))) for _ in range(32)]
        await asyncio.sleep(0)  # all have begun
        async with asyncio.timeout(10):
            await hang_up(connection, 0.1)
            await asyncio.wait(sending)
    over.set()
    server.close()
    await server.wait_closed()
