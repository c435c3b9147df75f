"""Under a new lease nothing of the old one goes on; a lapsed lease starts nothing and harms nothing."""

import asyncio

import pytest

from renova.drivers.hypervisor import ImageSource
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.model.channel import Closed
from renova.model.guest import Guest
from renova.model.ids import ServerId
from renova.simulation.loop import run_virtual
from renova.wire.acts import Define, Prepare, SoftReboot, Start, Stop
from renova.wire.duties import Clean, Cleaned, Duty
from renova.wire.leases import Fenced, Renewed
from renova.wire.results import Prepared
from renova.wire.sessions import Peers

from .host import SERVER, Controller, Host, guest, later, order, until, with_a_host, with_two_controllers

OTHER = ServerId("5e000000-0000-4000-8000-000000000002")


class SlowToPrepare(SimulatedHypervisor):
    """Prepares for 50 seconds; when cancelled, it takes 5 until its processes are gone."""

    ended_at = 0.0

    async def prepare(self, guest: Guest, images: ImageSource) -> bool:
        try:
            await self._clock.sleep(50)
        except asyncio.CancelledError:
            await self._clock.sleep(5)
            raise
        finally:
            self.ended_at = self._clock.monotonic()
        return await super().prepare(guest, images)


async def run(controller: Controller, incarnation: int = 1, number: int = 1) -> None:
    the_guest = guest(incarnation)
    for act in (Prepare(the_guest), Start(the_guest)):
        answer = await controller.send(order(incarnation=incarnation, number=number), act)
        assert answer.error is None, answer


# The lease.


def test_a_lapsed_lease_starts_no_guest_and_touches_none() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await run(controller)
        controller.acknowledges = False
        await asyncio.sleep(19)
        assert (await controller.send(order(), Start(guest()))).error is None
        await asyncio.sleep(3)
        for act in (Start(guest()), Define(guest()), SoftReboot(guest(), wait_s=60)):
            answer = await controller.send(order(number=2), act)
            assert (answer.why, answer.error) == ("not_now", "the host's lease has lapsed")
        assert host.hypervisor.executing() == {SERVER: 1}
        assert (await controller.send(order(number=2), Stop(wait_s=0))).error is None
        assert (await controller.send(order(number=2), Prepare(guest()))).error is None
        controller.acknowledges = True
        await asyncio.sleep(3)
        assert (await controller.send(order(number=2), Start(guest()))).error is None

    with_a_host(test)


def test_nothing_is_started_before_the_first_renewal_is_acknowledged() -> None:
    async def main() -> None:
        controller = Controller(acknowledges=False)
        host = Host(controller)
        host.start()
        await controller.leased()
        await controller.send(order(), Prepare(guest()))
        assert (await controller.send(order(), Start(guest()))).why == "not_now"
        await host.end()

    run_virtual(main())


def test_the_lease_is_renewed_in_time_and_the_counter_is_told() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await asyncio.sleep(20)
        assert 10 <= len(controller.renewals) <= 12
        counters = [renewal.counter for renewal in controller.renewals if renewal.epoch == 1]
        assert counters == list(range(len(counters)))
        assert {renewal.boot for renewal in controller.renewals} == {"boot-1"}

    with_a_host(test)


def test_a_restarted_guard_that_trails_catches_up_at_once() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await run(controller)
        controller.acknowledges = False  # the controller answers renewals with the counter only
        await host.end_guard()
        former = controller.guard_channel
        host.start_guard()
        await until(lambda: controller.guard_channel is not former and controller.renewals[-1].counter == 0)
        controller.acknowledges = True
        began = host.clock.monotonic()
        await controller.tell_guard(Renewed(nonce=0, era=1, epoch=1, counter=500, ttl=20))
        await until(lambda: controller.renewals[-1].counter == 500)
        assert host.clock.monotonic() - began < 0.1
        await asyncio.sleep(1)
        assert (await controller.send(order(), Start(guest()))).error is None

    with_a_host(test)


def test_the_lease_goes_on_over_another_controller() -> None:
    async def test(host: Host, first: Controller, second: Controller) -> None:
        first.acknowledges = False
        await asyncio.sleep(60)
        assert len(second.renewals) > 20
        await second.send(order(), Prepare(guest()))
        assert (await second.send(order(), Start(guest()))).error is None

    with_two_controllers(test)


# Fenced.


def test_a_fenced_host_ends_its_acts_before_it_says_hello_again() -> None:
    async def test(host: Host, controller: Controller) -> None:
        hypervisor = host.hypervisor
        assert isinstance(hypervisor, SlowToPrepare)
        preparing = later(controller.send(order(), Prepare(guest())))
        await asyncio.sleep(3)
        controller.epoch = 2
        await until(lambda: len(controller.hellos) == 2)
        assert 0 < hypervisor.ended_at < host.clock.monotonic()
        assert isinstance(preparing.exception(), Closed)
        assert controller.hellos[1].epoch == 1
        await controller.leased(2)
        assert (await controller.send(order(), Prepare(guest()), host_epoch=1)).why == "stale"
        assert (await controller.send(order(), Prepare(guest()))).result == Prepared(made=True)

    with_a_host(test, kind=SlowToPrepare)


def test_a_fence_reaches_all_connections() -> None:
    async def test(host: Host, first: Controller, second: Controller) -> None:
        former = second.session
        second.epoch = first.epoch = 2
        await first.say(Fenced(epoch=1))
        await first.leased(2)
        await second.leased(2)
        assert second.session != former
        assert (await second.send(order(), Stop(0), session=former)).why == "stale"
        assert (await second.send(order(), Stop(0))).error is None

    with_two_controllers(test)


def test_a_new_lease_ends_the_acts_of_the_old_even_if_nobody_said_that_it_was_over() -> None:
    async def test(host: Host, controller: Controller) -> None:
        hypervisor = host.hypervisor
        assert isinstance(hypervisor, SlowToPrepare)
        preparing = later(controller.send(order(), Prepare(guest())))
        await asyncio.sleep(3)
        host.lines[0].reset()
        controller.epoch = 2
        await controller.leased(2)
        answer = await controller.send(order(server=OTHER), Stop(0))
        assert answer.error is None
        assert 0 < hypervisor.ended_at < 10  # before any command of the new lease was obeyed
        assert isinstance(preparing.exception(), Closed)

    with_a_host(test, kind=SlowToPrepare)


@pytest.mark.parametrize("lost", [{"era": 1}, {"epoch": 2}], ids=["era", "epoch"])
def test_a_controller_whose_database_lost_something_is_not_obeyed(lost: dict[str, int]) -> None:
    async def main() -> None:
        controller = Controller(era=2, epoch=3)
        host = Host(controller)
        host.start()
        await controller.leased()
        await host.stop()
        for name, value in lost.items():
            setattr(controller, name, value)
        host.start()
        await until(lambda: len(controller.hellos) > 3)
        assert (controller.hellos[-1].era, controller.hellos[-1].epoch) == (2, 3)
        assert not [kind for _, kind in controller.heard[-3:] if kind != "Hello"]
        await host.end()

    run_virtual(main())


# Duties.


def test_a_returning_host_cleans_up_what_is_no_longer_its_own() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await run(controller)
        controller.epoch, controller.duties = 2, (Duty(SERVER, 2, disks=False),)
        await until(lambda: bool(controller.cleaned))
        assert controller.cleaned == [Cleaned(duty=Duty(SERVER, 2, disks=False))]
        assert await host.hypervisor.guests() == []
        assert host.network.segments == {}
        assert list(host.storage.disks) == [(SERVER, 1)]
        assert (await controller.send(order(number=9), Start(guest()))).why == "stale"
        assert host.hypervisor.executing() == {}

    with_a_host(test)


def test_disks_go_only_where_the_duty_says_so_and_no_newer_incarnation_owns_them() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await run(controller)
        host.storage.own(SERVER, 2)
        await controller.say(Clean(duty=Duty(SERVER, 2, disks=True)))
        await until(lambda: len(controller.cleaned) == 1)
        assert list(host.storage.disks) == [(SERVER, 1)]
        await controller.say(Clean(duty=Duty(SERVER, 3, disks=True)))
        await until(lambda: len(controller.cleaned) == 2)
        assert host.storage.disks == {}

    with_a_host(test)


def test_a_late_duty_does_not_hit_a_newer_incarnation() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await run(controller, incarnation=3)
        await controller.say(Clean(duty=Duty(SERVER, 3, disks=True)))
        await until(lambda: bool(controller.cleaned))
        assert host.hypervisor.executing() == {SERVER: 3}
        assert list(host.storage.disks) == [(SERVER, 1)]
        assert host.network.segments == {100: {"port-1"}}
        assert (await controller.send(order(incarnation=3), Start(guest(3)))).error is None

    with_a_host(test)


def test_an_old_guest_goes_though_a_newer_one_is_being_made() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await run(controller)
        await controller.send(order(incarnation=2, number=2), Prepare(guest(2)))
        await controller.say(Clean(duty=Duty(SERVER, 2, disks=True)))
        await until(lambda: bool(controller.cleaned))
        assert host.hypervisor.executing() == {}
        assert list(host.storage.disks) == [(SERVER, 1)]
        assert (await controller.send(order(incarnation=2, number=2), Start(guest(2)))).error is None

    with_a_host(test)


def test_a_duty_ends_an_act_of_the_incarnation_that_goes() -> None:
    async def test(host: Host, controller: Controller) -> None:
        preparing = later(controller.send(order(), Prepare(guest())))
        await asyncio.sleep(3)
        await controller.say(Clean(duty=Duty(SERVER, 2, disks=True)))
        await until(lambda: bool(controller.cleaned))
        assert (await preparing).why == "stale"
        assert host.storage.disks == {}

    with_a_host(test, kind=SlowToPrepare)


def test_a_duty_waits_for_an_act_of_a_newer_incarnation() -> None:
    async def test(host: Host, controller: Controller) -> None:
        preparing = later(controller.send(order(incarnation=2), Prepare(guest(2))))
        await asyncio.sleep(3)
        await controller.say(Clean(duty=Duty(SERVER, 2, disks=True)))
        assert (await preparing).result == Prepared(made=True)
        await until(lambda: bool(controller.cleaned))
        assert list(host.storage.disks) == [(SERVER, 1)]

    with_a_host(test, kind=SlowToPrepare)


def test_reminders_of_a_duty_do_not_pile_up() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await run(controller)
        host.hypervisor.go_away()
        duty = Duty(SERVER, 2, disks=True)
        await controller.say(Clean(duty=duty))
        await asyncio.sleep(5)
        tasks = len(asyncio.all_tasks())
        for _ in range(50):
            await controller.say(Clean(duty=duty))
            await asyncio.sleep(1)
        assert len(asyncio.all_tasks()) == tasks
        host.hypervisor.come_back()
        await until(lambda: bool(controller.cleaned))
        await controller.say(Clean(duty=duty))
        await until(lambda: len(controller.cleaned) == 2)

    with_a_host(test)


def test_a_duty_is_tried_until_it_is_done() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await run(controller)
        host.hypervisor.go_away()
        await controller.say(Clean(duty=Duty(SERVER, 2, disks=True)))
        await asyncio.sleep(60)
        assert controller.cleaned == []
        host.hypervisor.come_back()
        await until(lambda: bool(controller.cleaned))
        assert await host.hypervisor.guests() == []

    with_a_host(test)


def test_a_guest_that_only_the_hypervisor_knows_is_cleaned_up_too() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await run(controller)
        await host.stop()
        host.journal.lose()
        controller.epoch, controller.duties = 2, (Duty(SERVER, 2, disks=True), Duty(OTHER, 5, disks=True))
        host.start()
        await until(lambda: len(controller.cleaned) == 2)
        assert await host.hypervisor.guests() == []
        assert host.storage.disks == {}

    with_a_host(test)


# The network.


def test_the_network_is_told_the_newest_peers_but_not_the_host_itself() -> None:
    async def main() -> None:
        controller = Controller(peers=("192.0.2.1", "192.0.2.2"))
        host = Host(controller)
        host.start()
        await controller.leased()
        await until(lambda: host.network.ends == ("192.0.2.2",))
        await controller.say(Peers(addresses=("192.0.2.2", "192.0.2.3")))
        await until(lambda: host.network.ends == ("192.0.2.2", "192.0.2.3"))
        host.network.cut_power()
        await controller.say(Peers(addresses=("192.0.2.4",)))
        await asyncio.sleep(5)
        host.network.power_on()
        await until(lambda: host.network.ends == ("192.0.2.4",))
        await host.end()

    run_virtual(main())
