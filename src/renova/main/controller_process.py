"""The controller's process: the embedded database, the built-in services, the API's port and the agents' port."""

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version as installed_version
from pathlib import Path
from types import FrameType
from typing import TypeVar

import structlog
import uvicorn
from msgspec.structs import replace
from uvloop import new_event_loop

from renova import log as logs
from renova.api.everything import whole_api
from renova.controller import Controller, Parts
from renova.engine.executor import Executor
from renova.hosts.listener import Listener
from renova.main.first_start import have_authority, have_users
from renova.main.garbage import look_seldom
from renova.main.http_door import Door
from renova.model.chance import SystemChance
from renova.model.clock import Clock, SystemClock
from renova.model.errors import BadSetup, DatabaseAway, NotNow, whole
from renova.model.ids import ExecutorId
from renova.partners.identity.builtin import BuiltinIdentity
from renova.partners.image.builtin import BuiltinImages
from renova.partners.network.builtin import BuiltinNetworks
from renova.partners.notifications import Sink
from renova.partners.notifications.log_sink import LogSink
from renova.partners.volume.builtin import BuiltinVolumes
from renova.power import NoPower, Power
from renova.power.command import CommandPower
from renova.power.kinds import every_kind
from renova.power.seals import Seals
from renova.power.wired import WiredPower
from renova.settings import ControllerSettings
from renova.store.database import Database
from renova.store.everything import open_database
from renova.witness.directory import WitnessDirectory

log = structlog.get_logger()
T = TypeVar("T")

# The database's writer gives the interpreter away at each statement; while requests come in, it gets it back only after
# this time. By Python's own 5 ms, a hundred reboots were accepted half as fast.
SWITCH_S = 0.0005
AGAIN_S = 2.0  # seconds until a database or a directory that does not answer is asked again
FINISH_S = 20  # seconds that requests are given to be answered when the controller ends


def serve(settings: ControllerSettings, agents_fd: int | None) -> None:
    """Run a controller until it is told to end. `agents_fd` is a listening socket made elsewhere, if any."""
    logs.set_up(settings.log_level, process="controller")
    sys.setswitchinterval(SWITCH_S)
    os.umask(0o077)  # the database and the images are nobody else's to read
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(settings, agents_fd))


async def _serve(settings: ControllerSettings, agents_fd: int | None) -> None:
    settings = replace(settings, name=settings.name or socket.gethostname())
    clock, chance = SystemClock(), SystemChance()
    api_socket = _listen(settings.api_address, settings.api_port)
    async with AsyncExitStack() as stack:
        stack.callback(api_socket.close)
        database = await _when_it_is_there(lambda: _open(settings, clock))
        stack.callback(database.close)
        identity = BuiltinIdentity(database, clock, chance, settings)
        authority = await _when_it_is_there(lambda: have_authority(database, clock, settings))
        await _when_it_is_there(lambda: have_users(identity, chance, settings))
        executor = Executor(ExecutorId(chance.uuid()))
        images = BuiltinImages(database, chance, settings, executor)
        parts = Parts(
            settings=settings,
            clock=clock,
            chance=chance,
            database=database,
            identity=identity,
            images=images,
            networks=BuiltinNetworks(database, clock, chance),
            volumes=lambda hosts, agents: BuiltinVolumes(database, clock, chance, images, hosts, agents),
            power=WiredPower(database, Seals(Path(settings.shared) / "power-keys"), every_kind(), _power(settings)),
            witness=WitnessDirectory(Path(settings.witness)) if settings.witness else None,
            sink=_sink(settings),
            api_address=f"{settings.api_address}:{settings.api_port}",
            release=installed_version("renova"),
            executor=executor,
        )
        controller = Controller(parts)
        names = (settings.agents_address, "127.0.0.1", "localhost", *settings.agents_names)
        listener = Listener(controller.connections, controller.cloud.agents, authority, database, chance)
        reached_at = tuple(f"{name}:{settings.agents_port}" for name in settings.agents_names)
        await listener.open(
            authority.serve_as(names),
            address=settings.agents_address,
            port=settings.agents_port,
            sock=_inherited(agents_fd),
            reached_at=reached_at,
        )
        stack.push_async_callback(listener.close)
        await _serve_until_told(controller, settings, api_socket)


async def _serve_until_told(controller: Controller, settings: ControllerSettings, api_socket: socket.socket) -> None:
    config = uvicorn.Config(
        whole_api(controller.cloud),
        loop="none",
        http=Door,
        ws="none",  # an upgrade is not refused, but goes on as the plain request that it is
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=FINISH_S,
        backlog=1024,
    )
    told, hurried = asyncio.Event(), asyncio.Event()

    def tell() -> None:
        (hurried if told.is_set() else told).set()

    server = _Server(config, tell)
    work = asyncio.create_task(controller.serve(alone=not settings.several), name="controller")
    web = asyncio.create_task(server.serve(sockets=[api_socket]), name="api")
    ending = asyncio.create_task(told.wait(), name="ending")
    look_seldom()
    log.info("controller begins", api="http://{}:{}".format(*api_socket.getsockname()[:2]))
    done, _ = await asyncio.wait({work, web, ending}, return_when=asyncio.FIRST_COMPLETED)
    if ending in done and settings.several:
        # Load balancers go by the health check: until they have seen it, they send requests here.
        log.info("controller told to end", serves_on_s=settings.drain_wait)
        controller.end_soon()
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.drain_wait):
                await hurried.wait()
    ending.cancel()
    server.should_exit = True
    await asyncio.wait({web})  # operations run on: some requests are answered when theirs are done
    work.cancel()
    await asyncio.wait({work})
    await controller.resign()
    for task in done - {ending}:
        task.result()  # what ended the process, if it was an error
    log.info("controller ends")


class _Server(uvicorn.Server):
    """Leaves it to us what a signal to end means: its own way kills the process once its requests are answered."""

    def __init__(self, config: uvicorn.Config, told: Callable[[], None]) -> None:
        super().__init__(config)
        self._loop = asyncio.get_running_loop()
        self._told = told

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._told)


async def _when_it_is_there(work: Callable[[], Awaitable[T]]) -> T:
    """Do it as soon as the database and the shared directory can be asked; say so while they cannot."""
    while True:
        try:
            return await work()
        except DatabaseAway as away:
            log.warning("controller waits for the database", reason=whole(away))
        except NotNow as away:
            log.warning("controller waits", reason=whole(away))
        await asyncio.sleep(AGAIN_S)


async def _open(settings: ControllerSettings, clock: Clock) -> Database:
    if settings.several:
        return await asyncio.to_thread(open_database, settings.database, clock)
    return open_database(settings.database or Path(settings.state_dir) / "renova.db", clock)


def _power(settings: ControllerSettings) -> Power:
    if not settings.power:
        return NoPower()
    kind, _, rest = settings.power.partition(":")
    if kind != "command" or not rest:
        raise BadSetup(
            f"Setting power = {settings.power!r} is not understood. Use command:<command>, which is called with a "
            'host\'s name and prints "on" or "off".'
        )
    return CommandPower(rest)


def _sink(settings: ControllerSettings) -> Sink | None:
    if settings.notifications == "none":
        return None
    if settings.notifications == "log":
        return LogSink()
    from renova.partners.notifications.http_sink import HttpSink  # its client is not for those who tell nobody

    return HttpSink(settings.notifications, token=settings.notification_token, timeout=settings.notification_timeout)


def _inherited(descriptor: int | None) -> socket.socket | None:
    """Take over a listening socket; no child of ours may have it too, for it would keep the port when we are killed."""
    if descriptor is None:
        return None
    try:
        inherited = socket.socket(fileno=descriptor)
        inherited.set_inheritable(False)
    except OSError as error:
        raise BadSetup(f"--agents-fd {descriptor} is no listening socket ({error.strerror}).") from error
    return inherited


def _listen(address: str, port: int) -> socket.socket:
    try:
        return socket.create_server((address, port), backlog=1024)
    except OSError as error:
        # Of a name that leads nowhere the number is none of the system's.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise BadSetup(
            f"The API's port {address}:{port} cannot be opened ({why}). "
            "Free it, or choose another with RENOVA_API_PORT."
        ) from error
