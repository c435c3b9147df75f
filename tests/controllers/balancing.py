"""HAProxy as the lab has it, before controllers of a test."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from renova.lab.load_balancer import CONFIGURATION
from renova.lab.ports import free_ports

from .processes import ControllerProcess

START_S = 30.0


@asynccontextmanager
async def balanced(place: Path, controllers: Sequence[ControllerProcess]) -> AsyncIterator[str]:
    """Run it; gives the one address."""
    (port,) = free_ports(1)
    servers = "\n".join(f"    server {one.name} 127.0.0.1:{one.api_port}" for one in controllers)
    file = place / "haproxy.cfg"
    file.write_text(CONFIGURATION.format(address=f"127.0.0.1:{port}", servers=servers))
    process = await asyncio.create_subprocess_exec("haproxy", "-db", "-q", "-f", str(file))
    try:
        await answers(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def answers(url: str) -> None:
    """Wait until somebody answers there."""
    deadline = time.monotonic() + START_S
    async with httpx.AsyncClient(timeout=2.0) as client:
        while True:
            try:
                if (await client.get(f"{url}/healthcheck")).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            assert time.monotonic() < deadline, "HAProxy does not answer"
            await asyncio.sleep(0.05)
