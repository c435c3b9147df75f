"""How guests of simulated hosts travel with their memory: expected, copied, and from one moment on there, not here."""

from collections.abc import Callable
from dataclasses import dataclass

from renova.drivers.hypervisor.simulated.calls import change
from renova.drivers.hypervisor.simulated.machine import Domain, SimulatedMachine
from renova.drivers.hypervisor.simulated.storage import SimulatedStorage
from renova.model.clock import Clock
from renova.model.errors import Refused
from renova.model.guest import Departure, Guest, PowerState, Way
from renova.model.ids import HostId, ServerId

MIB = 1 << 20


@dataclass
class _Leaving:
    """A guest's memory on its way."""

    to: Way
    ends_at: float


class TravellingMachine(SimulatedMachine):
    """A machine whose guests come and go.

    `copy_s` is how long copying a guest's memory takes. `address` is its own on the underlay, and `neighbour` says who
    is reached at another now. Guests that are `uncopyable` change faster than they are copied, until they stand still;
    of those that are `torn` the way is lost in the last exchange, when both ends have all of the memory.
    """

    def __init__(
        self, clock: Clock, storage: SimulatedStorage, *, start_s: float, boot_s: float, shut_down_s: float
    ) -> None:
        super().__init__(clock, storage, start_s=start_s, boot_s=boot_s, shut_down_s=shut_down_s)
        self.copy_s = 0.0
        self.address = ""
        self.neighbour: Callable[[str], TravellingMachine | None] = lambda _address: None
        self.uncopyable: set[ServerId] = set()
        self.torn: set[ServerId] = set()
        self.tears: Callable[[ServerId], bool] = self.torn.__contains__
        self._expected: dict[ServerId, Guest] = {}
        self._leaving: dict[ServerId, _Leaving] = {}

    def cut_power(self) -> None:
        super().cut_power()
        self._forget_travellers()
        for server in [server for server, domain in self._domains.items() if domain.arriving]:
            del self._domains[server]  # it was never defined here

    def disconnect(self) -> None:
        super().disconnect()
        self._forget_travellers()

    def _forget_travellers(self) -> None:
        """Have nothing on its way any more: what carried it has died."""
        self._expected.clear()
        self._leaving.clear()

    def standing_by(self, server: ServerId) -> bool:
        """Say whether what is here of the server has arrived from another host, and not executed here."""
        domain = self._domains.get(server)
        return domain is not None and domain.arriving

    @change
    async def expect(self, guest: Guest, source: HostId) -> Way:
        self.reach()
        self._turn_away(guest.server)
        if self._active(guest.server):
            raise Refused(f"a guest of {guest.server} runs here already")
        self._storage.root(guest)
        self._expected[guest.server] = guest
        return Way(address=self.address, key=_key(guest))

    @change
    async def turn_away(self, server: ServerId) -> None:
        self.reach()
        self._turn_away(server)

    def _turn_away(self, server: ServerId) -> None:
        self._expected.pop(server, None)
        domain = self._domains.get(server)
        if domain is not None and domain.arriving:
            del self._domains[server]

    @change
    async def depart(self, server: ServerId, to: Way, *, hurry: bool, wait_s: float) -> Departure:
        self.reach()
        domain = self._domains.get(server)
        if domain is not None and domain.left:
            return Departure(left=True)
        if domain is None or domain.arriving or domain.power is not PowerState.RUNNING:
            return Departure(reason=f"the guest of {server} does not run here")
        self._must_not_be_frozen()
        leaving, now = self._leaving.get(server), self._clock.monotonic()
        if leaving is None or leaving.to != to:
            leaving = self._leaving[server] = _Leaving(to, now + self.copy_s)
        endless = server in self.uncopyable and not hurry
        try:
            await self._take(wait_s if endless else min(wait_s, max(leaving.ends_at - now, 0.0)))
        except BaseException:
            self._leaving.pop(server, None)
            raise
        if self._running(server) is not domain or self._leaving.get(server) is not leaving:
            return Departure(reason=f"the guest of {server} ended on its way")
        if endless or self._clock.monotonic() < leaving.ends_at:
            return self._progress(domain, leaving)
        return self._switch(domain, leaving)

    def _progress(self, domain: Domain, leaving: _Leaving) -> Departure:
        total = domain.guest.memory_mb * MIB
        left_s = max(leaving.ends_at - self._clock.monotonic(), 0.0)
        remaining = int(total * min(left_s / self.copy_s, 1.0)) if self.copy_s else 0
        return Departure(under_way=True, total=total, processed=total - remaining, remaining=remaining)

    def _switch(self, domain: Domain, leaving: _Leaving) -> Departure:
        """Have the guest there, standing still, and not here: in one moment, unless the way is lost in it."""
        self._must_not_be_frozen()
        server = domain.guest.server
        del self._leaving[server]
        there = self.neighbour(leaving.to.address)
        if there is None or not there.lets_in(domain.guest, leaving.to):
            return Departure(reason="the way to the other host is lost")
        self._boot(domain)
        there.arrives(domain, domain.ready_at - self._clock.monotonic())
        if self.tears(server):
            return Departure(reason="the way to the other host was lost when all had been copied")
        self._stop(domain, PowerState.SHUTDOWN)
        domain.left = True
        total = domain.guest.memory_mb * MIB
        return Departure(left=True, total=total, processed=total)

    def lets_in(self, guest: Guest, way: Way) -> bool:
        """Say whether this very guest may arrive here now, by this way."""
        expected = self._expected.get(guest.server)
        answers = self._powered and not self._away and not self._still
        return answers and expected is not None and way.key == _key(expected) == _key(guest)

    def arrives(self, domain: Domain, ready_in_s: float) -> None:
        """Have the guest here, as it is on the other host."""
        guest = domain.guest
        del self._expected[guest.server]
        self._domains[guest.server] = Domain(
            guest,
            PowerState.PAUSED,
            ready_at=self._clock.monotonic() + ready_in_s,
            booted=domain.booted,
            arriving=True,
            hangs=domain.hangs,
            without_agent=domain.without_agent,
        )

    @change
    async def stay(self, server: ServerId) -> bool:
        self.reach()
        self._leaving.pop(server, None)
        domain = self._domains.get(server)
        return domain is not None and domain.left


def _key(guest: Guest) -> str:
    return f"{guest.server} {guest.incarnation}"
