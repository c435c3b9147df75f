"""Which guests of this host hang: whose agent has answered, is still there, and has not answered for long enough.

An agent that was ended on purpose, or upgraded, has closed its end of the way, and a guest that boots has not opened it
yet: neither hangs. Whatever begins a guest's life anew, it has to answer once more before its silence counts. A guest
that hangs is told to the controllers again and again, also one whose watchdog says so: they may not have been able to
heed it, for they do nothing to a server that has something done to it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from msgspec.structs import replace

from renova.drivers.hypervisor import Hypervisor
from renova.model.clock import Clock
from renova.model.errors import NotNow, Refused, whole
from renova.model.guest import LIVES, FoundGuest, GuestChanged, PowerState, Pulse, Reply
from renova.model.ids import ServerId

log = structlog.get_logger()

LOOK_S = 5.0  # between rounds in which every guest is asked
IN_VAIN = 3  # times at least, in a row: who could not ask has not heard that nobody answers
TELL_AGAIN_S = 30.0
REASON = 200  # characters of one that are told: a guest may have written it
SILENT = "its agent does not answer"


@dataclass
class _Answering:
    """A guest whose agent has answered in this life of the guest's."""

    incarnation: int
    life: int
    answered_at: float
    in_vain: int = 0
    hangs: bool = False


class Hangs:
    """Asks the agents of the running guests, and tells `changed` of each guest that hangs."""

    def __init__(self, hypervisor: Hypervisor, changed: Callable[[GuestChanged], None], clock: Clock) -> None:
        self._hypervisor = hypervisor
        self._changed = changed
        self._clock = clock
        self._after_s = 0.0
        self._wanted = asyncio.Event()
        self._known: dict[ServerId, _Answering] = {}
        self._asking: dict[ServerId, asyncio.Task[None]] = {}

    def count_after(self, seconds: float) -> None:
        """Take a guest that was silent for so long for one that hangs; 0: none, and ask nobody."""
        self._after_s = seconds
        if seconds > 0:
            self._wanted.set()
        else:
            self._wanted.clear()
            self._known.clear()

    def seen(self, found: FoundGuest) -> FoundGuest:
        """Return the guest as the hypervisor has found it, and whether it hangs by what its agent was last heard."""
        known = self._known.get(found.server)
        same = known is not None and known.incarnation == found.incarnation and found.power is PowerState.RUNNING
        return replace(found, hung=SILENT) if known and same and known.hangs and not found.hung else found

    async def confirmed(self, found: FoundGuest) -> FoundGuest:
        """Return likewise; one that hung as it was last heard is asked once more."""
        if self.seen(found) is not found:
            await self._ask(found)
        return self.seen(found)

    async def serve(self) -> None:
        """Ask, and tell, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask_all(), name="hangs-asked")
                group.create_task(self._tell_again(), name="hangs-told")
        finally:
            for task in self._asking.values():
                task.cancel()

    async def _ask_all(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                await self._look()
            except (NotNow, Refused) as error:
                log.info("guests not asked whether they hang", reason=whole(error))
            await self._clock.sleep(LOOK_S)

    async def _tell_again(self) -> None:
        while True:
            await self._clock.sleep(TELL_AGAIN_S)
            try:
                found = [self.seen(guest) for guest in await self._hypervisor.guests()]
            except (NotNow, Refused) as error:
                log.info("guests not looked at whether they hang", reason=whole(error))
                continue
            for guest in found:
                if guest.hung and guest.power in LIVES and not guest.arriving:
                    self._changed(GuestChanged(guest.server, guest.incarnation, guest.power, guest.hung))

    async def _look(self) -> None:
        found = await self._hypervisor.guests()
        running = [guest for guest in found if guest.power is PowerState.RUNNING and not guest.arriving]
        here = {guest.server for guest in running}
        self._known = {server: known for server, known in self._known.items() if server in here}
        async with asyncio.TaskGroup() as group:  # the hypervisor bounds how many are asked at the same time
            for guest in running:
                group.create_task(self._ask(guest), name=f"pulse-{guest.server}")

    async def _ask(self, guest: FoundGuest) -> None:
        """Ask the guest, or wait for whoever is asking it already: each that hangs holds up all who are to be asked."""
        asking = self._asking.get(guest.server)
        if asking is None:
            asking = asyncio.get_running_loop().create_task(self._take_pulse(guest), name=f"asking-{guest.server}")
            self._asking[guest.server] = asking
            asking.add_done_callback(lambda _: self._asking.pop(guest.server, None))
        await asyncio.shield(asking)

    async def _take_pulse(self, guest: FoundGuest) -> None:
        try:
            pulse = await self._hypervisor.pulse(guest.server)
        except (NotNow, Refused) as error:
            log.info("guest not asked whether it hangs", server=guest.server, reason=whole(error)[:REASON])
            self._known.pop(guest.server, None)
        except Exception:  # whatever a guest answers, and the libraries make of it: it ends nobody but its own asking
            log.error("guest not asked whether it hangs", server=guest.server, exc_info=True)
            self._known.pop(guest.server, None)
        else:
            if self._after_s > 0:
                self._note(guest, pulse)

    def _note(self, guest: FoundGuest, pulse: Pulse) -> None:
        known, now = self._known.get(guest.server), self._clock.monotonic()
        if pulse.reply is Reply.ANSWERED:
            if known is not None and known.hangs and known.life == pulse.life:
                log.warning("guest answers again", server=guest.server)
            self._known[guest.server] = _Answering(guest.incarnation, pulse.life, now)
            return
        if pulse.reply is Reply.NOBODY or known is None or known.life != pulse.life:
            self._known.pop(guest.server, None)
            return
        known.in_vain += 1
        if known.in_vain < IN_VAIN or now - known.answered_at < self._after_s:
            return
        if not known.hangs:
            known.hangs = True
            log.warning("guest hangs", server=guest.server, silent_s=round(now - known.answered_at, 1))
            self._changed(GuestChanged(guest.server, guest.incarnation, guest.power, SILENT))
