"""Hears what happens on one host, and has it checked."""

from renova.agent.journal import ServerPage
from renova.drivers.hypervisor.simulated.witness import Witness
from renova.model.guest import Guest
from renova.model.ids import ServerId
from renova.simulation.hosts import SimulatedHost
from renova.simulation.invariants.disks import Disks
from renova.simulation.invariants.guests import Guests


class HostWitness(Witness):
    """Knows which calls the host's agent has begun, and which of its guests execute."""

    def __init__(self, host: SimulatedHost, guests: Guests, disks: Disks) -> None:
        self._host = host
        self._guests = guests
        self._disks = disks
        self._running: dict[ServerId, list[str]] = {}
        self._was: dict[ServerId, bool] = {}
        host.journal.written = self._page_written

    def _page_written(self, journal: str, server: ServerId, page: ServerPage) -> None:
        self._guests.page_written(self._host, journal, server, page)

    def power(self, server: ServerId) -> None:
        runs = self._host.hypervisor.executes(server) is not None
        if runs != self._was.get(server, False):
            self._was[server] = runs
            self._guests.changed(self._host, server)

    def begins(self, call: str, server: ServerId, guest: Guest | None) -> None:
        running = self._running.setdefault(server, [])
        # Before it is noted: a violation is raised in here.
        self._guests.begun(self._host, call, server, guest, running)
        running.append(call)

    def ends(self, call: str, server: ServerId) -> None:
        running = self._running.get(server, [])
        if call in running:
            running.remove(call)
        if call == "undefine":
            self._guests.undefined(self._host, server)

    def connects(self) -> None:
        self._running.clear()

    def deletes(self, server: ServerId, generation: int) -> None:
        self._disks.deleted(self._host, server, generation)
