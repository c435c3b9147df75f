"""One connection is home: the lease and the reports go over it, and over the next one when it is of no use."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from renova.guard.home import PATIENCE
from renova.model.channel import Channel
from renova.model.guest import GuestChanged, PowerState
from renova.simulation.channel import Line
from renova.simulation.loop import run_virtual
from renova.uplink.controllers import LINGER_S
from renova.uplink.pings import PING_EVERY_S, PONG_S
from renova.wire.acts import Prepare, Start, Stop
from renova.wire.frames import FromAgent
from renova.wire.leases import Fenced
from renova.wire.results import Prepared
from renova.wire.sessions import Controllers, Report

from .host import SERVER, Controller, Host, guest, later, line_to, order, until

CRASHED = GuestChanged(SERVER, 1, PowerState.CRASHED)


def with_two(test: Callable[[Host, Controller, Controller], Awaitable[None]]) -> None:
    """Run a test with a host that two controllers have welcomed; the first is its home."""

    async def main() -> None:
        first, second = Controller(name="one"), Controller(name="two")
        host = Host(first, second)
        host.lines[1].cut()
        host.start()
        await first.leased()
        host.lines[1].heal()
        await second.leased()
        await test(host, first, second)
        await host.end()

    run_virtual(main(), limit_s=10_000)


async def run(controller: Controller) -> None:
    for act in (Prepare(guest()), Start(guest())):
        assert (await controller.send(order(), act)).error is None
    await asyncio.sleep(1)
    controller.reports.clear()


async def seconds_until(host: Host, reached: Callable[[], bool]) -> float:
    began = host.clock.monotonic()
    await until(reached)
    return host.clock.monotonic() - began


# Which one is home.


def test_only_home_hears_renewals_and_a_second_welcome_changes_nothing() -> None:
    async def test(_host: Host, first: Controller, second: Controller) -> None:
        await asyncio.sleep(60)
        assert len(first.renewals) >= 30
        assert second.renewals == []
        assert (len(first.hellos), len(second.hellos)) == (1, 1)

    with_two(test)


def test_another_is_home_at_once_when_home_ends() -> None:
    async def test(host: Host, _first: Controller, second: Controller) -> None:
        await asyncio.sleep(0.7)  # since a renewal: the next one would be due only later
        host.lines[0].cut()
        host.lines[0].reset()
        assert await seconds_until(host, lambda: bool(second.renewals)) < 0.1

    with_two(test)


@pytest.mark.parametrize("after", [0.1, 0.9, 1.95])
def test_another_is_home_soon_after_home_fell_silent(after: float) -> None:
    """The controller is frozen, or its database away: the connection stands, and nothing is acknowledged."""

    async def test(host: Host, first: Controller, second: Controller) -> None:
        await asyncio.sleep(after)
        first.acknowledges = False
        unheard = len(first.renewals)
        await until(lambda: len(first.renewals) > unheard)
        assert await seconds_until(host, lambda: bool(second.renewals)) <= PATIENCE * 2.0 + 0.1
        await second.send(order(), Prepare(guest()))
        await asyncio.sleep(30)
        assert (await second.send(order(), Start(guest()))).error is None, "the lease has not lapsed"
        assert (len(first.hellos), len(second.hellos)) == (1, 1), "who was home is still connected, and may command"
        assert (await first.send(order(number=2), Stop(0))).error is None

    with_two(test)


@pytest.mark.parametrize("renew_s", [2.0, 5.0])
@pytest.mark.parametrize("after", [tenths / 10 for tenths in range(21)])
def test_another_is_home_within_two_seconds_of_the_freeze_of_home(after: float, renew_s: float) -> None:
    """Whenever it freezes between renewals, however seldom these are; it is thawed as a commander, not as home."""

    async def test(host: Host, first: Controller, second: Controller) -> None:
        first.renew = second.renew = renew_s
        host.lines[1].reset()
        await second.welcomed(2)
        await asyncio.sleep(2 * renew_s)
        unheard = len(first.renewals)
        await until(lambda: len(first.renewals) > unheard)
        await asyncio.sleep(after)
        first.process.freeze()
        assert await seconds_until(host, lambda: bool(second.renewals)) <= PING_EVERY_S + PONG_S + 0.01 < 2.0
        await second.send(order(), Prepare(guest()))
        await asyncio.sleep(30)
        first.process.thaw()
        renewed = len(first.renewals)
        assert (await second.send(order(), Start(guest()))).error is None, "the lease has not lapsed"
        assert (await first.send(order(number=2), Stop(0))).error is None
        await asyncio.sleep(30)
        assert len(first.renewals) <= renewed + 1, "only what was sent before its freeze was noticed"

    with_two(test)


def test_a_home_that_is_merely_slow_is_kept() -> None:
    async def test(host: Host, first: Controller, second: Controller) -> None:
        for _ in range(100):
            first.process.freeze()
            await asyncio.sleep(0.9 * PONG_S)
            first.process.thaw()
            await asyncio.sleep(0.1)
        host.lines[0].to_controller.delay_s = host.lines[0].to_host.delay_s = 0.45 * PONG_S
        await asyncio.sleep(60)
        assert second.renewals == []

    with_two(test)


def test_two_homes_that_are_slow_in_turn_are_changed_once_each_time() -> None:
    """Nobody goes back by himself: so a fleet does not swing between controllers."""

    async def test(_host: Host, first: Controller, second: Controller) -> None:
        for slow, other in ((first, second), (second, first), (first, second)):
            await asyncio.sleep(10)
            slow.process.freeze()
            await asyncio.sleep(10)
            slow.process.thaw()
            await asyncio.sleep(0.1)
            slow.renewals.clear()
            heard = len(other.renewals)
            await asyncio.sleep(20)
            assert slow.renewals == []
            assert len(other.renewals) >= heard + 9

    with_two(test)


def test_a_home_that_is_the_only_one_is_not_pinged() -> None:
    async def main() -> None:
        controller = Controller()
        host = Host(controller)
        host.start()
        await controller.leased()
        await asyncio.sleep(1)
        pings: list[float] = []
        of_agent, of_guard = host.lines[0], host.lines[0].beside
        assert of_guard is not None
        for line in (of_agent, of_guard):
            channel = line.links[-1].host
            channel.ping = lambda: pings.append(host.clock.monotonic())  # type: ignore[assignment,return-value]
        await asyncio.sleep(60)
        assert pings == []
        await host.end()

    run_virtual(main())


def test_where_nobody_acknowledges_nobody_is_flooded() -> None:
    async def test(_host: Host, first: Controller, second: Controller) -> None:
        first.acknowledges = second.acknowledges = False
        await asyncio.sleep(1)
        first.renewals.clear()
        second.renewals.clear()
        await asyncio.sleep(60)
        assert 20 <= len(first.renewals) + len(second.renewals) <= 61
        assert first.renewals
        assert second.renewals
        second.acknowledges = True
        await asyncio.sleep(5)
        assert (await second.send(order(), Prepare(guest()))).error is None
        assert (await second.send(order(), Start(guest()))).error is None

    with_two(test)


def test_the_lease_lives_through_any_number_of_homes() -> None:
    async def test(host: Host, first: Controller, second: Controller) -> None:
        await second.send(order(), Prepare(guest()))
        for number in range(1, 21):
            lost, kept = (first, second) if number % 2 else (second, first)
            lost.acknowledges, kept.acknowledges = False, True
            await asyncio.sleep(7)
            answer = await kept.send(order(number=number), Start(guest()))
            assert answer.error is None, answer
        assert host.hypervisor.executing() == {SERVER: 1}

    with_two(test)


# Reports.


def test_a_change_is_reported_to_home_alone() -> None:
    async def test(host: Host, first: Controller, second: Controller) -> None:
        await run(second)
        first.reports.clear()
        host.hypervisor.crash(SERVER)
        await asyncio.sleep(10)
        assert (first.reports, second.reports) == ([CRASHED], [])

    with_two(test)


def test_a_report_that_home_had_not_taken_when_it_died_is_told_to_the_next() -> None:
    async def test(host: Host, first: Controller, second: Controller) -> None:
        await run(second)
        first.takes_reports = False
        first.reports.clear()
        host.hypervisor.crash(SERVER)
        await until(lambda: first.reports == [CRASHED])
        host.lines[0].cut()
        host.lines[0].reset()
        assert await seconds_until(host, lambda: second.reports == [CRASHED]) <= 2.0
        await asyncio.sleep(30)
        assert second.reports == [CRASHED], "once, for it was taken"

    with_two(test)


def test_a_report_is_told_until_it_is_taken_and_then_the_newest_only() -> None:
    async def test(host: Host, first: Controller, second: Controller) -> None:
        await run(first)
        first.takes_reports = second.takes_reports = False
        host.hypervisor.crash(SERVER)
        await until(lambda: len(first.reports) >= 3)
        assert (await first.send(order(number=2), Start(guest()))).error is None
        first.reports.clear()
        first.takes_reports = True
        await asyncio.sleep(10)
        assert first.reports[-1] == GuestChanged(SERVER, 1, PowerState.RUNNING)
        told = len(first.reports)
        await asyncio.sleep(30)
        assert len(first.reports) == told

    with_two(test)


def test_a_report_and_its_answer_belong_together() -> None:
    async def main() -> None:
        numbers: list[int] = []
        controller = Controller()
        host = Host(controller)
        take = controller._take

        async def listen(channel: object, message: object) -> None:
            if isinstance(message, Report):
                numbers.append(message.id)
            await take(channel, message)  # type: ignore[arg-type]

        controller._take = listen  # type: ignore[method-assign]
        host.start()
        await controller.leased()
        await run(controller)
        host.hypervisor.crash(SERVER)
        await until(lambda: bool(controller.reports))
        assert numbers
        assert 0 not in numbers
        assert len(set(numbers)) == len(numbers)
        await host.end()

    run_virtual(main())


def test_a_change_that_came_while_the_one_before_was_being_taken_is_reported_too() -> None:
    async def test(host: Host, first: Controller, _second: Controller) -> None:
        await run(first)
        take = first._take

        async def change_then_take(channel: Channel, message: FromAgent) -> None:
            if isinstance(message, Report) and message.changes == (CRASHED,):
                assert host.hypervisor._changed
                host.hypervisor._changed(GuestChanged(SERVER, 1, PowerState.SHUTDOWN))
            await take(channel, message)

        first._take = change_then_take  # type: ignore[method-assign]
        host.hypervisor.crash(SERVER)
        await asyncio.sleep(30)
        assert first.reports == [CRASHED, GuestChanged(SERVER, 1, PowerState.SHUTDOWN)]

    with_two(test)


# Leases and commands of several controllers.


def test_who_was_welcomed_under_an_older_lease_hears_of_the_new_one() -> None:
    async def test(host: Host, first: Controller, second: Controller) -> None:
        old, renewed = first.session, len(first.renewals)
        await until(lambda: len(first.renewals) > renewed)  # the next one comes later than what follows
        first.epoch = second.epoch = 2
        host.lines[1].reset()
        await second.leased(2)
        await first.leased(2)
        assert [hello.epoch for hello in first.hellos] == [0, 2], "it needs no further epoch"
        assert first.session != old
        assert (await first.send(order(), Prepare(guest()))).result == Prepared(made=True)

    with_two(test)


def test_a_fence_of_a_lease_that_the_host_has_left_disturbs_nobody() -> None:
    async def test(host: Host, first: Controller, second: Controller) -> None:
        first.epoch = second.epoch = 3
        host.lines[1].reset()
        await second.leased(2)
        await first.leased(2)
        await first.say(Fenced(epoch=2))
        await asyncio.sleep(5)
        assert (len(first.hellos), len(second.hellos)) == (2, 2)
        await second.send(order(), Prepare(guest()))
        assert (await second.send(order(), Start(guest()))).error is None

    with_two(test)


def test_of_two_controllers_orders_the_higher_number_decides_in_whatever_order_they_come() -> None:
    async def test(host: Host, first: Controller, second: Controller) -> None:
        await run(first)
        host.hypervisor.shut_down_s = 30.0  # type: ignore[attr-defined]
        slow = later(first.send(order(number=5, epoch=2), Stop(wait_s=60)))
        await asyncio.sleep(0.1)
        assert (await second.send(order(number=5, epoch=1), Start(guest()))).why == "stale"
        assert (await second.send(order(number=4, epoch=9), Start(guest()))).why == "stale"
        assert (await second.send(order(number=5, epoch=3), Stop(wait_s=0))).error is None
        assert (await slow).error is None or (await slow).why == "stale"
        assert (await first.send(order(number=5, epoch=2), Start(guest()))).why == "stale"
        assert host.hypervisor.executing() == {}

    with_two(test)


def test_a_command_over_another_controllers_session_is_refused() -> None:
    async def test(_host: Host, first: Controller, second: Controller) -> None:
        assert (await first.send(order(), Prepare(guest()), session=second.session + "-other")).why == "stale"
        assert (await first.send(order(), Prepare(guest()))).error is None

    with_two(test)


# Where controllers are.


def lines(host: Host, controllers: dict[str, Controller]) -> Callable[[str], Line]:
    """Have the host's agent dial these controllers when it is told of them."""
    made: dict[str, Line] = {}

    def dialer_to(address: str) -> Line:
        if address not in made:
            made[address] = line_to(controllers.get(address, Controller()), address)
            if address not in controllers:
                made[address].cut()
        return made[address]

    host.dialer_to = dialer_to
    return dialer_to


def test_a_controller_that_is_told_of_is_dialled_and_remembered() -> None:
    async def main() -> None:
        told = Controller(name="told")
        known = Controller(name="known", controllers=("controller-0:1", "told:1"))
        host = Host(known)
        host.lines[0].address = "controller-0:1"
        lines(host, {"told:1": told})
        host.start()
        await told.leased()
        assert len(known.hellos) == 1
        host.lines[0].cut()
        host.crash()
        host.start()
        await told.leased(2)
        await asyncio.sleep(1)
        assert told.renewals, "it is home, for the configured one is away"
        host.lines[0].heal()
        await known.leased(2)
        await host.end()

    run_virtual(main())


def test_a_controller_that_is_gone_is_dialled_for_a_while_and_the_configured_one_for_ever() -> None:
    async def main() -> None:
        told = Controller(name="told")
        known = Controller(name="known", controllers=("told:1",))
        host = Host(known)
        dialer_to = lines(host, {"told:1": told})
        host.start()
        await told.leased()
        line = dialer_to("told:1")
        line.cut()
        line.reset()
        await known.say(Controllers(addresses=("another:1",)))
        dialled = line.dialled
        await asyncio.sleep(LINGER_S - 10)
        assert line.dialled > dialled
        await asyncio.sleep(30)
        dialled = line.dialled
        await asyncio.sleep(60)
        assert line.dialled == dialled
        host.lines[0].reset()
        await known.leased(2)
        await known.say(Controllers(addresses=("told:1",)))
        line.heal()
        await told.leased(2)
        await host.end()

    run_virtual(main(), limit_s=10_000)


def test_what_is_no_address_is_not_dialled() -> None:
    async def main() -> None:
        known = Controller(
            controllers=("", "no port", "x:1/../y", "a b:1", "ok:123456", *(f"c{n}:1" for n in range(99)))
        )
        host = Host(known)
        dialled: list[str] = []

        def dialer_to(address: str) -> Line:
            dialled.append(address)
            return line_to(Controller(), address)

        host.dialer_to = dialer_to
        host.start()
        await known.leased()
        await asyncio.sleep(10)
        assert len(set(dialled)) == 32
        assert all(address.startswith("c") for address in dialled)
        await host.end()

    run_virtual(main())


def test_a_controller_of_two_addresses_is_connected_once() -> None:
    async def main() -> None:
        controller = Controller(name="one")
        host = Host(controller, controller)
        accept = controller.accept
        open_channels: list[object] = []

        async def replace(channel: object) -> None:
            """Take a new connection for the old one, as a controller does."""
            for former in open_channels:
                await former.close()  # type: ignore[attr-defined]
            open_channels[:] = [channel]
            await accept(channel)  # type: ignore[arg-type]

        for line in host.lines:
            line._accept = replace
        host.start()
        await controller.welcomed()
        await asyncio.sleep(10)
        settled = len(controller.hellos)
        assert settled <= 4
        await asyncio.sleep(300)
        assert len(controller.hellos) == settled
        assert len(controller.renewals) > 100
        for line in host.lines:
            line.reset()
        await asyncio.sleep(10)
        settled = len(controller.hellos)
        await asyncio.sleep(300)
        assert len(controller.hellos) == settled
        await host.end()

    run_virtual(main(), limit_s=10_000)
