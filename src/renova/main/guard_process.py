"""The guard's process on a real host. `python -m renova.main.guard_process`.

It imports neither libvirt nor anything of an agent or a controller, for it is to meet a deadline whatever these do.
`renova guard` becomes this process.
"""

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from renova import log as logs
from renova.drivers.guard import Watchdog
from renova.drivers.guard.closing import Closing, close_or_kill
from renova.drivers.guard.enclosure import Enclosure
from renova.drivers.guard.hardening import harden
from renova.drivers.guard.host_gate import HostGate
from renova.drivers.guard.place import enclosure_at, usual_place
from renova.drivers.guard.reset import HostReset
from renova.drivers.guard.watchdog import watchdog_of_host
from renova.guard.armed_mark import ArmedMark
from renova.guard.datagrams import DatagramNeighbours
from renova.guard.disarming import Disarming
from renova.guard.keeper import LOOK_S as KEEPER_LOOK_S
from renova.guard.keeper import Keeper
from renova.guard.last_place import LastPlace, Place
from renova.guard.page import FilePage
from renova.guard.service import Guard
from renova.guard.witnessed import Witnessed
from renova.main.ending import run_to_status, until_told
from renova.main.underlay import found_underlay
from renova.model.chance import SystemChance
from renova.model.clock import Clock, SystemClock
from renova.model.host import GuardClass
from renova.settings import AgentSettings, load
from renova.uplink.connection import TlsDialer
from renova.uplink.controllers import FileBook
from renova.uplink.identity import Identity, check_name, read_identity
from renova.uplink.local_socket import READERS_SOCKET, listen

log = structlog.get_logger()

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LOOK_S = 0.5  # between looks whether the host has been enrolled


def serve(settings: AgentSettings) -> None:
    """Run the guard of this host until it is told to end."""
    logs.set_up(settings.log_level, process="guard")
    if settings.guard_armed and settings.role != "storage":
        for measure in harden():
            if measure.refused:
                log.warning("guard not hardened", measure=measure.name, reason=measure.refused)
    with asyncio.Runner() as runner:
        runner.run(until_told(guard_host(settings)))


async def guard_host(
    settings: AgentSettings,
    open_watchdog: Callable[[AgentSettings, Path], Watchdog] | None = None,
    last_place: LastPlace | None = None,
) -> None:
    """Guard this host until cancelled. `open_watchdog`: what it has for a watchdog, which counts from then on.

    A guard that cannot begin leaves no watchdog counting, unless the gate cannot be seen to be closed.
    """
    state, clock, chance = Path(settings.state_dir), SystemClock(), SystemChance()
    # First: it may be that guests run, and this guard knows no lease yet.
    mark = ArmedMark(state)
    gate = await _gate(settings, mark, last_place or LastPlace(), clock)
    identity = await _enrolled(state, clock)
    check_name(identity, settings.name or socket.gethostname())
    controllers, book = settings.controllers or identity.controllers, FileBook(state, "guard-controllers.json")
    # What may be wrong is found before the watchdog counts, as far as it can be: it resets the host after seconds.
    dialers, page = [TlsDialer(controller, state) for controller in controllers], FilePage(state)
    await page.read()
    keeper: Keeper | Disarming | None = None
    neighbours, witnessed = None, None
    if gate is not None and not settings.guard_armed:
        keeper = Disarming(gate, mark.remove)
    elif gate is not None:
        address = await found_underlay(settings, controllers, book, clock, chance)
        neighbours = DatagramNeighbours(address, settings.guard_port, clock, chance)
        watchdog = await _arm(settings, gate, mark, open_watchdog or _watchdog)
        keeper = Keeper(gate, watchdog, clock, neighbours)
        witnessed = Witnessed(identity.host, clock) if settings.witness else None
    try:
        guard = Guard(
            identity.name,
            page,
            clock,
            chance,
            dialers,
            boot=BOOT_ID.read_text().strip(),
            keeper=keeper,
            neighbours=neighbours,
            witnessed=witnessed,
            dialer_to=lambda controller: TlsDialer(controller, state),
            book=book,
        )
        await _serve_host(guard, state)
    finally:
        if isinstance(keeper, Keeper):
            await keeper.end()


async def _serve_host(guard: Guard, state: Path) -> None:
    servers = []
    try:
        servers.append(await listen(state, guard.serve_agent))
        servers.append(await listen(state, guard.serve_reader, READERS_SOCKET))
        await guard.run()
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


async def _gate(settings: AgentSettings, mark: ArmedMark, last_place: LastPlace, clock: Clock) -> HostGate | None:
    """Return the gate, closed, of a host that is armed, or was until now; None where nothing stops the guests."""
    if settings.role == "storage" or not (settings.guard_armed or mark.is_set()):
        return None
    enclosure = _enclosure(settings)
    enclosure.make()
    gate = HostGate(enclosure, clock)
    if await close_or_kill(gate, clock) is Closing.STUCK:
        HostReset().now()
    # After that: /run need not be in memory, and a disk may be slow.
    try:
        last_place.keep(Place(str(enclosure.path.absolute()), str(Path(settings.state_dir).absolute())))
    except OSError as error:  # it is for the case that the settings break, too
        log.warning("place of the gate not kept", reason=str(error))
    return gate


def _enclosure(settings: AgentSettings) -> Enclosure:
    return enclosure_at(Path(settings.gate) if settings.gate else usual_place())


async def _arm(
    settings: AgentSettings,
    gate: HostGate,
    mark: ArmedMark,
    open_watchdog: Callable[[AgentSettings, Path], Watchdog],
) -> Watchdog:
    """Mark the host as armed, then open its watchdog: that one counts at once, and the disk may be full.

    Where either will not do, and the host was not armed before, its guests go on as before.
    """
    was_armed = mark.is_set()
    try:
        mark.set()
        return open_watchdog(settings, Path(settings.state_dir))
    except BaseException:
        if not was_armed:
            if await gate.open():
                with suppress(OSError):  # a mark too many has the next guard wait for the controllers, and no more
                    mark.remove()
            else:
                log.error("gate not opened again", gate=settings.gate)
        raise


def _watchdog(settings: AgentSettings, state: Path) -> Watchdog:
    device = Path(settings.watchdog)
    reset, weakness = HostReset().now, _enclosure(settings).weakness
    watchdog = watchdog_of_host(device, settings.watchdog_timeout, state, reset, weak_gate=weakness)
    if watchdog.strength in (GuardClass.A, GuardClass.B) and watchdog.timeout_s < 4 * KEEPER_LOOK_S:
        raise watchdog.refused(
            f"The watchdog {device} resets this host after {watchdog.timeout_s:g} s, but is petted only every "
            f"{KEEPER_LOOK_S:g} s: it must be at least four times that. Raise watchdog_timeout."
        )
    log.info("guard armed", strength=watchdog.strength, watchdog=watchdog.kind, timeout_s=watchdog.timeout_s)
    return watchdog


async def _enrolled(state: Path, clock: Clock) -> Identity:
    """Return the host's identity; its agent has it enrolled when both start for the first time."""
    said = False
    while True:
        identity = read_identity(state) if state.is_dir() else None
        if identity is not None:
            return identity
        if not said:
            log.warning("host not enrolled yet", reason=f"`renova agent` has yet to enrol it in {state}")
            said = True
        await clock.sleep(LOOK_S)


if __name__ == "__main__":
    run_to_status(lambda: serve(load(AgentSettings, Path(sys.argv[1]) if len(sys.argv) > 1 else None)))
