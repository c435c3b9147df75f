"""Controllers as processes of their own, on one PostgreSQL and one shared directory, behind a balancer of our own."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from renova.lab.ports import free_ports
from renova.lab.programs import environment, renova_argv, write_settings

START_S = 60.0
DRAIN_S = 1.0
LOOK_S = 0.1  # seconds between the balancer's looks


@dataclass
class ControllerProcess:
    """One controller; it may be killed, frozen, ended and started again."""

    name: str
    place: Path
    database: str
    api_port: int
    agents_port: int
    process: "asyncio.subprocess.Process | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def log(self) -> str:
        return (self.place / f"{self.name}.log").read_text()

    async def start(self) -> None:
        file = self.place / f"{self.name}.toml"
        write_settings(
            file,
            {
                "name": self.name,
                "state_dir": str(self.place / self.name),
                "shared_dir": str(self.place / "shared"),
                "database": self.database,
                "api_port": self.api_port,
                "agents_port": self.agents_port,
                "public_url": "http://cloud.example",
                "drain_wait": DRAIN_S,
            },
        )
        with (self.place / f"{self.name}.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *renova_argv("controller", "--config", file), env=environment(), stdout=log, stderr=log
            )

    async def healthy(self) -> bool:
        try:
            async with httpx.AsyncClient(timeout=1.0) as client:
                return (await client.get(f"{self.url}/healthcheck")).status_code == 200
        except httpx.HTTPError:
            return False

    async def until_healthy(self) -> None:
        deadline = time.monotonic() + START_S
        while not await self.healthy():
            assert self.process is not None
            assert self.process.returncode is None, self.log[-3000:]
            assert time.monotonic() < deadline, self.log[-3000:]
            await asyncio.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def ended(self) -> int:
        assert self.process is not None
        return await asyncio.wait_for(self.process.wait(), START_S)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.send(signal.SIGKILL)
            await self.ended()


@dataclass
class Balancer:
    """Sends each request to the next controller whose health check was good when it looked last; retries nothing."""

    controllers: Sequence[ControllerProcess]
    healthy: dict[str, bool] = field(default_factory=dict)
    _turn: int = 0

    async def watch(self) -> None:
        async with httpx.AsyncClient(timeout=1.0) as client:
            while True:
                for one in self.controllers:
                    try:
                        answer = await client.get(f"{one.url}/healthcheck")
                        self.healthy[one.url] = answer.status_code == 200
                    except httpx.HTTPError:
                        self.healthy[one.url] = False
                await asyncio.sleep(LOOK_S)

    def next(self) -> str:
        fit = [one.url for one in self.controllers if self.healthy.get(one.url)]
        assert fit, "no controller is healthy"
        self._turn += 1
        return fit[self._turn % len(fit)]


@asynccontextmanager
async def controllers(place: Path, database: str, count: int = 2) -> AsyncIterator[list[ControllerProcess]]:
    """Run so many controllers, all begun at once on an empty database."""
    ports = free_ports(2 * count)
    every = [
        ControllerProcess(f"controller{number + 1}", place, database, ports[2 * number], ports[2 * number + 1])
        for number in range(count)
    ]
    try:
        await asyncio.gather(*(one.start() for one in every))
        await asyncio.gather(*(one.until_healthy() for one in every))
        yield every
    finally:
        await asyncio.gather(*(one.kill() for one in every))


async def sign_in(url: str, place: Path, user: str = "admin") -> str:
    """Return a token."""
    password = (place / "shared" / f"{user}-password").read_text().strip()
    who = {"name": user, "domain": {"id": "default"}, "password": password}
    scope = {"project": {"name": user, "domain": {"id": "default"}}}
    auth = {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}
    async with httpx.AsyncClient(timeout=30.0) as client:
        answer = await client.post(f"{url}/identity/v3/auth/tokens", json={"auth": auth})
    assert answer.status_code == 201, answer.text
    return answer.headers["x-subject-token"]


async def seen(true: Callable[[], bool], limit_s: float, what: str) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)
