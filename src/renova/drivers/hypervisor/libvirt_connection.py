"""One connection to libvirtd that opens itself again; with `libvirt_domains` the only code that knows libvirt.

libvirt calls back in a thread of its own and its calls block, so: one thread in this process runs libvirt's events,
one runs calls. Nothing of that shows outside; callers live in one event loop.
"""

import asyncio
import contextlib
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

import libvirt
import structlog

from renova.drivers.blocking import in_thread
from renova.model.clock import Clock
from renova.model.errors import NotNow, Refused
from renova.model.ids import ServerId

P = ParamSpec("P")
T = TypeVar("T")

# As QEMU tells what it was given: by an export's name whoever knows it writes the volume, and users read our reasons.
EXPORT_NAME = re.compile(r"(?<![\w-])[\w-]{43}(?![\w-])")

log = structlog.get_logger()

KEEPALIVE_S, KEEPALIVE_MISSES = 2, 3  # a frozen libvirtd is found out within 8 s, also during a call
OPEN_AGAIN_S = 1.0
# One call at a time on a connection: when keepalive gives a frozen libvirtd up while several threads are inside it,
# libvirt 9.0 has ended the process by a segmentation fault. Calls are short; what takes long is waited for outside.
THREADS = 1

LIFECYCLE = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
DEFINITIONS = (libvirt.VIR_DOMAIN_EVENT_DEFINED, libvirt.VIR_DOMAIN_EVENT_UNDEFINED)  # which change no guest's life
LEFT_ALONE = (libvirt.VIR_DOMAIN_EVENT_WATCHDOG_NONE, libvirt.VIR_DOMAIN_EVENT_WATCHDOG_PAUSE)
DEVICE_EVENTS = (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED)

# Errors that say nothing about the request: libvirtd or the way to it is at fault.
AWAY_FROM = {libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE}
AWAY = {
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_OPERATION_TIMEOUT,
    libvirt.VIR_ERR_OPERATION_ABORTED,
    libvirt.VIR_ERR_AUTH_FAILED,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE,
}


class Sign(Enum):
    """What a guest has shown of its life."""

    BEGINS_ANEW = auto()  # it was started, paused, reset; or its agent has ended
    WATCHDOG = auto()  # which fired, and leaves the guest to others


class Connection:
    """The way to one libvirtd. `uri` as libvirt takes it: qemu:///system."""

    def __init__(self, uri: str, clock: Clock) -> None:
        self._uri = uri
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="libvirt")
        self._open: Any = None  # libvirt.virConnect; None while libvirtd is away
        self._events: list[int] = []  # the registrations of `_on_event` on that connection
        self._opening: asyncio.Task[None] | None = None
        self._happened: Callable[[ServerId], None] = lambda _: None
        self._reopened: Callable[[], None] = lambda: None
        self._signs: Callable[[ServerId, Sign], None] = lambda _server, _sign: None

    async def open(
        self,
        happened: Callable[[ServerId], None],
        reopened: Callable[[], None],
        signs: Callable[[ServerId, Sign], None] = lambda _server, _sign: None,
    ) -> None:
        """Connect; `NotNow` when libvirtd is away. All are called in the event loop and must not block.

        `happened`: something happened to a guest, nobody says what. `reopened`: the connection broke and is open
        again, so anything may have happened. `signs`: what a guest has shown, told before that something happened.
        """
        _start_events()
        self._happened, self._reopened, self._signs = happened, reopened, signs
        try:
            self._open = await self._connected()
        except libvirt.libvirtError as error:
            raise NotNow("libvirtd is away", details=f"{self._uri}: {_said(error)}") from error

    async def close(self) -> None:
        """Let go of libvirtd; guests stay as they are."""
        self._happened, self._reopened, self._signs = lambda _: None, lambda: None, lambda _server, _sign: None
        if self._opening is not None:
            self._opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._opening
        connection, self._open = self._open, None
        if connection is not None:
            await in_thread(self._threads, self._disconnect, connection)
        self._threads.shutdown(wait=False)

    async def call(self, ask: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `ask(connection, ...)` in a thread. Errors of libvirt become `NotNow` or `Refused`."""
        connection = self._open
        if connection is None:
            raise NotNow("libvirtd is away")
        try:
            return await in_thread(self._threads, ask, connection, *args, **kwargs)
        except libvirt.libvirtError as error:
            if not connection.isAlive():
                self._on_loss(connection)
                raise NotNow("libvirtd went away", details=_said(error)) from error
            if error.get_error_domain() in AWAY_FROM or error.get_error_code() in AWAY:
                raise NotNow("libvirtd is away", details=_said(error)) from error
            raise Refused("libvirt refuses", details=_said(error)) from error

    async def _connected(self) -> Any:
        """Return a new connection; waits for a frozen libvirtd without end."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[Any] = loop.create_future()

        def deliver(outcome: Any) -> None:
            if arrived.done():
                return
            if isinstance(outcome, libvirt.libvirtError):
                arrived.set_exception(outcome)
            else:
                arrived.set_result(outcome)

        def connect() -> None:
            try:
                outcome = self._connect(loop)
            except libvirt.libvirtError as error:
                outcome = error
            _tell(loop, deliver, outcome)

        # No keepalive yet, so this may hang; unlike other calls it changes nothing and may be left behind, even by
        # a process that ends.
        threading.Thread(target=connect, name="libvirt-connect", daemon=True).start()
        return await arrived

    def _connect(self, loop: asyncio.AbstractEventLoop) -> Any:
        connection = libvirt.open(self._uri)
        connection.setKeepAlive(KEEPALIVE_S, KEEPALIVE_MISSES)

        def happened(_connection: Any, domain: Any, event: int, _detail: int, _opaque: None) -> None:
            if event not in DEFINITIONS:
                shown(domain, Sign.BEGINS_ANEW)
            _tell(loop, self._on_event, ServerId(domain.UUIDString()))

        def shown(domain: Any, sign: Sign) -> None:
            server = ServerId(domain.UUIDString())
            _tell(loop, lambda sign: self._signs(server, sign), sign)

        def watchdog(_connection: Any, domain: Any, action: int, _opaque: None) -> None:
            if action in LEFT_ALONE:
                shown(domain, Sign.WATCHDOG)
            _tell(loop, self._on_event, ServerId(domain.UUIDString()))

        def rebooted(_connection: Any, domain: Any, _opaque: None) -> None:
            shown(domain, Sign.BEGINS_ANEW)

        def agent(_connection: Any, domain: Any, state: int, _reason: int, _opaque: None) -> None:
            if state == libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_DISCONNECTED:
                shown(domain, Sign.BEGINS_ANEW)

        def closed(_connection: Any, _reason: int, _opaque: None) -> None:
            _tell(loop, self._on_loss, connection)

        def device(_connection: Any, domain: Any, _alias: str, _opaque: None) -> None:
            _tell(loop, self._on_event, ServerId(domain.UUIDString()))

        self._events = [connection.domainEventRegisterAny(None, LIFECYCLE, happened, None)]
        self._events += [connection.domainEventRegisterAny(None, event, device, None) for event in DEVICE_EVENTS]
        for event, heard in (
            (libvirt.VIR_DOMAIN_EVENT_ID_WATCHDOG, watchdog),
            (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, rebooted),
            (libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, agent),
        ):
            self._events.append(connection.domainEventRegisterAny(None, event, heard, None))
        connection.registerCloseCallback(closed, None)
        return connection

    def _disconnect(self, connection: Any) -> None:
        # Never `connection.close()`: somebody may still hold what belongs to it, and libvirt would free that. Once
        # nobody listens to it, the connection closes when the last who uses it lets go.
        for stop_listening in (
            connection.unregisterCloseCallback,
            *(partial(connection.domainEventDeregisterAny, event) for event in self._events),
        ):
            with contextlib.suppress(libvirt.libvirtError):  # it may be broken already
                stop_listening()

    def _on_event(self, server: ServerId) -> None:
        self._happened(server)

    def _on_loss(self, connection: Any) -> None:
        if self._open is connection:
            self._open = None
            log.warning("libvirtd is away", uri=self._uri)
            self._opening = asyncio.create_task(self._open_again(connection))

    async def _open_again(self, broken: Any) -> None:
        await in_thread(self._threads, self._disconnect, broken)
        while self._open is None:
            try:
                self._open = await self._connected()
            except libvirt.libvirtError:
                await self._clock.sleep(OPEN_AGAIN_S)
        log.info("libvirtd is back", uri=self._uri)
        self._reopened()


def _said(error: libvirt.libvirtError) -> str:
    return without_secrets(error.get_error_message())


def without_secrets(message: str) -> str:
    return EXPORT_NAME.sub("...", message)


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[[T], None], what: T) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody listens any more
        loop.call_soon_threadsafe(call, what)


_events: list[threading.Thread] = []
_events_lock = threading.Lock()


def _start_events() -> None:
    """Have the process's one thread that runs libvirt's events; it must be there before any connection."""
    with _events_lock:
        if not _events:
            libvirt.registerErrorHandler(lambda *_: None, None)  # else libvirt prints every error, too
            libvirt.virEventRegisterDefaultImpl()
            _events.append(threading.Thread(target=_run_events, name="libvirt-events", daemon=True))
            _events[0].start()


def _run_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
