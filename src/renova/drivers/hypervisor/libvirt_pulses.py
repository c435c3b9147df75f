"""Signs of life of this host's guests: their watchdogs, and what the agents inside them answer; used by `libvirt`.

libvirt keeps that a watchdog has paused a guest (`libvirt_domains`); that one has fired and done nothing, nobody keeps
but this process. An agent that does not answer holds up whoever asks it, for as long as libvirt waits: so agents are
asked over connections of their own, a few at a time.
"""

import asyncio
from collections import Counter
from typing import Any

import libvirt
import libvirt_qemu
from msgspec.structs import replace

from renova.drivers.hypervisor import WATCHDOG_FIRED
from renova.drivers.hypervisor.behind_gate import BehindGate
from renova.drivers.hypervisor.domain_xml import has_agent_inside
from renova.drivers.hypervisor.libvirt_connection import Connection, Sign
from renova.drivers.hypervisor.libvirt_domains import GONE, domain_of
from renova.model.clock import Clock
from renova.model.guest import FoundGuest, PowerState, Pulse, Reply
from renova.model.ids import ServerId

AT_ONCE = 8  # agents that are asked at the same time
WAIT_S = 5  # for an answer; libvirt waits as long for its own greeting before it
UNHEARD = {libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED}


class Pulses:
    """The signs of life of the guests of the libvirtd at `uri`; behind a closed `gate` none is looked for."""

    def __init__(self, uri: str, clock: Clock, gate: BehindGate | None) -> None:
        self._gate = gate
        self._connections = [Connection(uri, clock) for _ in range(AT_ONCE)]
        self._free: asyncio.Queue[Connection] | None = None  # made when first somebody is asked
        self._opening = asyncio.Lock()
        self._opened: list[Connection] = []
        self._lives = Counter[ServerId]()
        self._former = 0  # lives of all, that ended when libvirtd was away
        self._fired: set[ServerId] = set()

    def shows(self, server: ServerId, sign: Sign) -> None:
        """Take what a guest has shown."""
        if sign is Sign.WATCHDOG:
            self._fired.add(server)
        else:
            self._lives[server] += 1
            self._fired.discard(server)

    def begin_anew(self) -> None:
        """Take every guest for another: nobody has heard what they showed while libvirtd was away."""
        self._former += sum(self._lives.values()) + 1
        self._lives.clear()
        self._fired.clear()

    def seen(self, found: FoundGuest) -> FoundGuest:
        """Return the guest as it was found, and whether its watchdog has fired and done nothing."""
        fired = found.server in self._fired and found.power is PowerState.RUNNING
        return replace(found, hung=WATCHDOG_FIRED) if fired else found

    async def take(self, server: ServerId) -> Pulse:
        life = self._life(server)
        if self._is_held():
            return Pulse(Reply.NOBODY, life)
        free = await self._ways()
        way = await free.get()
        try:
            life = self._life(server)
            reply = await way.call(ask_agent, server)
        finally:
            free.put_nowait(way)
        # A guest that stood still, or began anew, meanwhile owes no answer.
        owes = not self._is_held() and life == self._life(server)
        return Pulse(reply if owes or reply is Reply.ANSWERED else Reply.NOBODY, life)

    async def close(self) -> None:
        for connection in self._opened:
            await connection.close()
        self._opened.clear()

    def _life(self, server: ServerId) -> int:
        return self._former + self._lives[server]

    def _is_held(self) -> bool:
        return self._gate is not None and self._gate.is_closed()

    async def _ways(self) -> "asyncio.Queue[Connection]":
        async with self._opening:
            if self._free is None:
                for connection in self._connections[len(self._opened) :]:
                    await connection.open(lambda _server: None, lambda: None)
                    self._opened.append(connection)
                self._free = asyncio.Queue()
                for connection in self._opened:
                    self._free.put_nowait(connection)
            return self._free


def ask_agent(connection: Any, server: ServerId) -> Reply:
    """Ask the agent inside the guest, in a thread of a connection's own."""
    domain = domain_of(connection, server)
    if domain is None or not _is_there(domain):
        return Reply.NOBODY
    try:
        libvirt_qemu.qemuAgentCommand(domain, '{"execute":"guest-ping"}', WAIT_S, 0)
    except UnicodeDecodeError:
        return Reply.ANSWERED  # what it says is no text, and libvirt's words about that neither: but it lives
    except libvirt.libvirtError as error:
        if error.get_error_code() in UNHEARD:
            # The agent may have ended just now: only one that is there still owes an answer.
            return Reply.SILENT if _is_there(domain) else Reply.NOBODY
        if error.get_error_code() in GONE:
            return Reply.NOBODY
        if "unable to execute QEMU agent command" in error.get_error_message():
            return Reply.ANSWERED  # that it may not: but it lives
        raise
    return Reply.ANSWERED


def _is_there(domain: Any) -> bool:
    try:
        return bool(domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING) and has_agent_inside(domain.XMLDesc(0))
    except libvirt.libvirtError as error:
        if error.get_error_code() in GONE:
            return False
        raise
