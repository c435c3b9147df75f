"""An agent that begins while something of its host is away waits for that, and then serves."""

from collections.abc import Callable

import pytest

from renova.agent.journal import HostPage, MemoryJournal
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.drivers.volume.simulated import SimulatedVolumes
from renova.model.chance import SeededChance
from renova.model.errors import NotNow
from renova.model.guest import GuestChanged
from renova.simulation.loop import VirtualClock, run_virtual

from .host import Controller, Host


class Absence:
    """Something is away until it is not any more."""

    over = False
    missed = 0  # how often it was looked for

    def must_be_over(self) -> None:
        if not self.over:
            self.missed += 1
            raise NotNow("it is away")


def journal_away(host: Host, absence: Absence) -> None:
    class Away(MemoryJournal):
        async def open(self) -> HostPage:
            absence.must_be_over()
            return await super().open()

    host.journal = Away(SeededChance(1))


def hypervisor_away(host: Host, absence: Absence) -> None:
    class Away(SimulatedHypervisor):
        async def connect(self, changed: Callable[[GuestChanged], None]) -> None:
            absence.must_be_over()
            await super().connect(changed)

    host.hypervisor = Away(host.clock, host.storage)


def volumes_away(host: Host, absence: Absence) -> None:
    class Away(SimulatedVolumes):
        async def open(self, lost: Callable[[], None]) -> None:
            absence.must_be_over()
            await super().open(lost)

    host.volumes = Away(host.clock)


@pytest.mark.parametrize("away", [journal_away, hypervisor_away, volumes_away])
def test_what_is_away_at_the_start_is_waited_for(away: Callable[[Host, Absence], None]) -> None:
    async def story() -> None:
        controller, absence = Controller(), Absence()
        host = Host(controller)
        away(host, absence)
        host.start()
        await VirtualClock().sleep(60)
        assert absence.missed > 10
        assert not controller.hellos
        absence.over = True
        await controller.welcomed()
        await host.end()

    run_virtual(story(), limit_s=3600)
