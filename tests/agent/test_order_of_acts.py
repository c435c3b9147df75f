"""One act of a server at a time: the newest order wins, and waits until the former act has really ended."""

import asyncio

from renova.drivers.hypervisor import ImageSource
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.model.guest import Guest
from renova.model.ids import ServerId
from renova.wire.acts import DropDisks, Prepare, Remove, Start, Stop
from renova.wire.results import Prepared, State

from .host import SERVER, Controller, Host, guest, later, order, until, with_a_host

OTHER = ServerId("5e000000-0000-4000-8000-000000000002")


class Slow(SimulatedHypervisor):
    """Prepares for 50 seconds, and when cancelled needs `ending_s` until its processes are gone."""

    ending_s = 5.0
    log: list[str]
    at_work: set[ServerId]
    most_at_work = 0

    async def prepare(self, guest: Guest, images: ImageSource) -> bool:
        self.log.append("prepare begins")
        assert guest.server not in self.at_work
        self.at_work.add(guest.server)
        self.most_at_work = max(self.most_at_work, len(self.at_work))
        try:
            await self._clock.sleep(50)
        except asyncio.CancelledError:
            await self._clock.sleep(self.ending_s)
            raise
        finally:
            self.at_work.discard(guest.server)
            self.log.append("prepare ended")
        return await super().prepare(guest, images)

    async def kill(self, server: ServerId) -> None:
        assert server not in self.at_work
        self.log.append("kill")
        await super().kill(server)


class Slower(Slow):
    ending_s = 100.0


def slow(host: Host) -> Slow:
    assert isinstance(host.hypervisor, Slow)
    host.hypervisor.log, host.hypervisor.at_work = [], set()
    return host.hypervisor


def test_a_newer_order_waits_until_the_former_act_has_ended() -> None:
    async def test(host: Host, controller: Controller) -> None:
        hypervisor = slow(host)
        former = later(controller.send(order(number=1), Prepare(guest())))
        await until(lambda: hypervisor.log == ["prepare begins"])
        began = host.clock.monotonic()
        answer = await controller.send(order(number=2), Remove(disks=True))
        assert answer.result == State(None)
        assert 5 <= host.clock.monotonic() - began < 6
        assert hypervisor.log == ["prepare begins", "prepare ended", "kill"]
        assert (await former).why == "stale"

    with_a_host(test, kind=Slow)


def test_a_higher_executor_of_the_same_operation_takes_its_place() -> None:
    async def test(host: Host, controller: Controller) -> None:
        hypervisor = slow(host)
        former = later(controller.send(order(number=1, epoch=1), Prepare(guest())))
        await until(lambda: hypervisor.log == ["prepare begins"])
        later_one = later(controller.send(order(number=1, epoch=2), Prepare(guest())))
        assert (await former).why == "stale"
        assert (await later_one).result == Prepared(made=True)
        assert hypervisor.log == ["prepare begins", "prepare ended"] * 2

    with_a_host(test, kind=Slow)


def test_the_next_step_of_an_operation_ends_the_former_one() -> None:
    async def test(host: Host, controller: Controller) -> None:
        hypervisor = slow(host)
        former = later(controller.send(order(), Prepare(guest())))
        await until(lambda: hypervisor.log == ["prepare begins"])
        assert (await controller.send(order(), Remove(disks=True))).result == State(None)
        assert (await former).why == "stale"

    with_a_host(test, kind=Slow)


def test_the_same_order_again_joins_the_act_that_runs() -> None:
    async def test(host: Host, controller: Controller) -> None:
        hypervisor = slow(host)
        first = later(controller.send(order(), Prepare(guest())))
        await until(lambda: hypervisor.log == ["prepare begins"])
        host.lines[0].reset()  # the answer is lost, the act is not
        await controller.leased(2)
        again = await controller.send(order(), Prepare(guest()))
        assert again.result == Prepared(made=True)
        assert hypervisor.log == ["prepare begins", "prepare ended"]
        assert isinstance(first.exception(), Exception)

    with_a_host(test, kind=Slow)


def test_a_command_that_comes_again_after_the_next_one_of_its_operation_is_not_done_again() -> None:
    async def test(host: Host, controller: Controller) -> None:
        assert (await controller.send_as(10, order(), Prepare(guest()))).result == Prepared(made=True)
        assert (await controller.send_as(12, order(), DropDisks(None))).result == State(None)
        assert (await controller.send_as(10, order(), Prepare(guest()))).why == "not_now"
        assert (await controller.send_as(11, order(), Prepare(guest()))).why == "not_now", "it was overtaken"
        assert not host.storage.disks

    with_a_host(test)


def test_the_number_of_a_command_of_a_former_connection_keeps_none_of_this_one_from_being_done() -> None:
    async def test(_: Host, controller: Controller) -> None:
        late = await controller.send_as(2**40, order(), Prepare(guest()), session="a former one")
        assert late.why == "stale", late
        assert (await controller.send_as(10, order(), Prepare(guest()))).result == Prepared(made=True)

    with_a_host(test)


def test_a_late_order_disturbs_nothing() -> None:
    async def test(host: Host, controller: Controller) -> None:
        hypervisor = slow(host)
        running = later(controller.send(order(number=5), Prepare(guest())))
        await until(lambda: hypervisor.log == ["prepare begins"])
        for late in (
            controller.send(order(number=4), Remove(disks=True)),
            controller.send(order(number=5, epoch=0), Remove(disks=True)),
            controller.send(order(number=6), Remove(disks=True), host_epoch=0),
            controller.send(order(number=6), Remove(disks=True), era=0),
            controller.send(order(number=6), Remove(disks=True), session="another"),
            controller.send(order(incarnation=0, number=6), Remove(disks=True)),
        ):
            assert (await late).why == "stale"
        assert (await running).result == Prepared(made=True)

    with_a_host(test, kind=Slow)


def test_an_order_of_a_lease_that_this_host_has_not_entered_comes_too_early() -> None:
    async def test(host: Host, controller: Controller) -> None:
        assert (await controller.send(order(), Stop(0), host_epoch=2)).why == "not_now"
        assert (await controller.send(order(), Stop(0), era=2)).why == "not_now"

    with_a_host(test)


def test_what_cannot_be_ended_is_busy_and_is_not_cancelled_twice() -> None:
    async def test(host: Host, controller: Controller) -> None:
        hypervisor = slow(host)
        former = later(controller.send(order(number=1), Prepare(guest())))
        await until(lambda: hypervisor.log == ["prepare begins"])
        began = host.clock.monotonic()
        answer = await controller.send(order(number=2), Remove(disks=True))
        assert (answer.why, "busy" in str(answer.error)) == ("not_now", True)
        assert (await controller.send(order(number=1), Prepare(guest()))).why == "stale"
        assert (await controller.insist(order(number=2), Remove(disks=True))).result == State(None)
        assert 100 <= host.clock.monotonic() - began < 131
        assert hypervisor.log == ["prepare begins", "prepare ended", "kill"]
        assert (await former).why == "stale"

    with_a_host(test, kind=Slower)


def test_of_many_orders_the_newest_wins() -> None:
    async def test(host: Host, controller: Controller) -> None:
        hypervisor = slow(host)
        asked = [later(controller.send(order(number=number), Prepare(guest()))) for number in (1, 2, 5, 4, 3)]
        answers = [await task for task in asked]
        assert [answer.why for answer in answers] == ["stale", "stale", "", "stale", "stale"]
        assert hypervisor.log.count("prepare begins") == hypervisor.log.count("prepare ended")

    with_a_host(test, kind=Slow)


def test_different_servers_do_not_wait_for_one_another() -> None:
    async def test(host: Host, controller: Controller) -> None:
        hypervisor = slow(host)
        began = host.clock.monotonic()
        first = later(controller.send(order(), Prepare(guest())))
        second = later(controller.send(order(server=OTHER), Prepare(guest(server=OTHER))))
        assert (await first).result == (await second).result == Prepared(made=True)
        assert host.clock.monotonic() - began < 51
        assert hypervisor.most_at_work == 2

    with_a_host(test, kind=Slow)


def test_an_agent_that_stops_ends_its_acts_and_leaves_the_guests() -> None:
    async def test(host: Host, controller: Controller) -> None:
        hypervisor = slow(host)
        await controller.insist(order(), Prepare(guest()))
        await controller.insist(order(), Start(guest()))
        running = later(controller.send(order(server=OTHER), Prepare(guest(server=OTHER))))
        await until(lambda: OTHER in hypervisor.at_work)
        await host.stop()
        assert hypervisor.log[-1] == "prepare ended"
        assert hypervisor.executing() == {SERVER: 1}
        assert running.exception() is not None

    with_a_host(test, kind=Slow)


def test_a_guest_that_is_newer_than_the_journal_is_not_touched() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await controller.send(order(incarnation=3), Prepare(guest(3)))
        await controller.send(order(incarnation=3), Start(guest(3)))
        await host.stop()
        host.journal.lose()
        host.start()
        await controller.leased(2)
        assert controller.hellos[0].journal != controller.hellos[1].journal
        answer = await controller.send(order(incarnation=2, number=9), Stop(0))
        assert (answer.why, answer.error) == ("stale", "incarnation 2 is over: this host has seen 3")
        assert host.hypervisor.executing() == {SERVER: 3}

    with_a_host(test)
