"""Connections come and go: hello tells all there is, reports the rest, and images go on where they broke off."""

import asyncio
from typing import Any

import pytest

from renova.agent.images import PATIENCE_S, PIECE_S
from renova.drivers.hypervisor import ImageSource
from renova.drivers.hypervisor.simulated.hypervisor import SimulatedHypervisor
from renova.model.channel import Channel
from renova.model.errors import BadSetup
from renova.model.guest import FoundGuest, Guest, GuestChanged, PowerState
from renova.model.ids import ImageId
from renova.simulation.channel import End
from renova.simulation.loop import run_virtual
from renova.wire.acts import Prepare, Remove, SoftReboot, Start, Stop
from renova.wire.frames import encode
from renova.wire.images import WantImage
from renova.wire.leases import Renewed
from renova.wire.results import Prepared
from renova.wire.sessions import Welcome

from .host import CONTENT, SERVER, Controller, Host, guest, later, order, until, with_a_host, with_two_controllers


async def run(controller: Controller) -> None:
    for act in (Prepare(guest()), Start(guest())):
        answer = await controller.insist(order(), act)
        assert answer.error is None, answer
    await asyncio.sleep(1)  # until what it did was reported


# Hello and reports.


def test_hello_tells_what_there_is() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await run(controller)
        host.lines[0].reset()
        await controller.leased(2)
        first, second = controller.hellos
        assert (first.name, first.address, first.boot) == ("host", "192.0.2.1", "boot-1")
        assert (first.era, first.epoch, second.era, second.epoch) == (0, 0, 1, 1)
        assert first.journal == second.journal
        assert first.facts.storage_id == "storage"
        assert second.guests == (FoundGuest(SERVER, 1, PowerState.RUNNING, 1),)

    with_a_host(test)


def test_a_guest_that_changes_by_itself_is_reported() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await run(controller)
        controller.reports.clear()
        host.hypervisor.crash(SERVER)
        await until(lambda: bool(controller.reports))
        assert controller.reports == [GuestChanged(SERVER, 1, PowerState.CRASHED)]

    with_a_host(test)


def test_while_a_guest_is_being_changed_nothing_is_reported_of_it_and_then_only_the_latest() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await run(controller)
        controller.reports.clear()
        rebooting = later(controller.send(order(number=2), SoftReboot(guest(), wait_s=60)))
        await asyncio.sleep(7)  # it is off, and takes three more seconds to start
        assert host.hypervisor.executing() == {}
        assert controller.reports == []
        await rebooting
        await until(lambda: bool(controller.reports))
        assert controller.reports == [GuestChanged(SERVER, 1, PowerState.RUNNING)]

    with_a_host(test, shut_down_s=5, start_s=3)


def test_changes_while_nobody_listens_are_told_by_the_next_hello() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await run(controller)
        host.lines[0].cut()
        await asyncio.sleep(30)
        host.hypervisor.power_off_inside(SERVER)
        host.lines[0].heal()
        await controller.leased(2)
        assert controller.hellos[-1].guests == (FoundGuest(SERVER, 1, PowerState.SHUTDOWN, 1),)

    with_a_host(test)


def test_a_change_between_hello_and_welcome_is_not_lost() -> None:
    async def main() -> None:
        controller = Controller()
        host = Host(controller)
        host.start()
        await run(controller)
        accept = controller.accept

        async def crash_after_hello(channel: Channel) -> None:
            await asyncio.sleep(5)
            host.hypervisor.crash(SERVER)
            await accept(channel)

        host.lines[0]._accept = crash_after_hello
        host.lines[0].reset()
        controller.reports.clear()
        await until(lambda: bool(controller.reports))
        assert controller.hellos[-1].guests == (FoundGuest(SERVER, 1, PowerState.RUNNING, 1),)
        assert controller.reports == [GuestChanged(SERVER, 1, PowerState.CRASHED)]
        await host.end()

    run_virtual(main())


# Connections that fail.


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\xff\xff",
        b"\x81\xa4kind\xa7unknown",
        encode(Renewed(nonce=1, era=1, epoch=1, counter=1, ttl=1))[:-3],
        encode(WantImage(id=1, image=ImageId("x"), offset=0)),
        encode(Welcome(host="h", session="s", era=1, epoch=1, ttl=1, renew=1, duties=(), peers=())),
    ],
    ids=["empty", "noise", "unknown kind", "cut off", "an agent's message", "a second welcome"],
)
def test_a_message_that_is_none_ends_the_connection(junk: bytes) -> None:
    async def test(host: Host, controller: Controller) -> None:
        assert controller.channel
        await controller.channel.send(junk)
        await controller.leased(2)
        await run(controller)

    with_a_host(test)


def test_a_controller_that_would_have_its_lease_renewed_without_a_pause_is_left() -> None:
    async def main() -> None:
        hasty, honest = Controller(renew=1e-9), Controller()
        host = Host(hasty, honest)
        host.start()
        await honest.leased()
        assert not any(kind == "Renew" for _, kind in hasty.heard)
        await host.end()

    run_virtual(main())


def test_who_does_not_begin_with_a_welcome_is_left() -> None:
    async def main() -> None:
        async def rude(channel: Channel) -> None:
            await channel.send(encode(Renewed(nonce=1, era=1, epoch=1, counter=1, ttl=1)))
            async for _ in channel.frames():
                pass

        host = Host(Controller())
        host.lines[0]._accept = rude
        host.start()
        await until(lambda: host.lines[0].dialled > 3)
        await host.end()

    run_virtual(main())


def test_who_never_welcomes_is_dialled_anew() -> None:
    async def main() -> None:
        async def silent(channel: Channel) -> None:
            async for _ in channel.frames():
                pass

        host = Host(Controller())
        host.lines[0]._accept = silent
        host.start()
        await asyncio.sleep(100)
        assert 3 <= host.lines[0].dialled <= 4
        await host.end()

    run_virtual(main())


def test_a_controller_that_is_away_is_dialled_more_and_more_slowly() -> None:
    async def main() -> None:
        controller = Controller()
        host = Host(controller)
        line = host.lines[0]
        line.cut()
        host.start()
        await asyncio.sleep(1)
        assert 3 <= line.dialled <= 6
        await asyncio.sleep(99)
        assert 50 <= line.dialled <= 110
        line.heal()
        await controller.leased()
        await host.end()

    run_virtual(main())


def test_a_certificate_that_is_not_accepted_does_not_stop_the_other_connections() -> None:
    async def main() -> None:
        first, second = Controller(), Controller()
        host = Host(first, second)

        async def refuse() -> End:
            raise BadSetup("the certificate of controller-0 is not signed by the authority of this cloud")

        host.lines[0].dial = refuse  # type: ignore[method-assign]
        host.start()
        await second.leased()
        await run(second)
        await host.end()

    run_virtual(main())


def test_a_hypervisor_that_is_away_at_first_is_waited_for() -> None:
    async def main() -> None:
        controller = Controller()
        host = Host(controller)
        host.hypervisor.go_away()
        host.start()
        await asyncio.sleep(30)
        assert controller.hellos == []
        host.hypervisor.come_back()
        await controller.leased()
        await run(controller)
        await host.end()

    run_virtual(main())


def test_every_controller_can_command() -> None:
    async def test(host: Host, first: Controller, second: Controller) -> None:
        assert (await first.send(order(), Prepare(guest()))).result == Prepared(made=True)
        assert (await second.send(order(), Start(guest()))).error is None
        assert (await second.send(order(number=2, epoch=2), Stop(0))).error is None
        assert (await first.send(order(number=2, epoch=1), Stop(0))).why == "stale"
        host.lines[0].cut()
        await asyncio.sleep(60)
        assert (await second.send(order(number=3), Start(guest()))).error is None

    with_two_controllers(test)


# Images.


def test_an_image_goes_on_over_another_connection_at_the_same_byte() -> None:
    async def test(host: Host, first: Controller, second: Controller) -> None:

        def break_off(want: WantImage) -> None:
            if want.offset == 3000:
                host.lines[0].reset()
                host.lines[0].cut()

        first.on_piece = break_off
        assert (await second.send(order(), Prepare(guest()))).result == Prepared(made=True)
        wanted = [want.offset for want in first.wanted + second.wanted]
        assert sorted(set(wanted)) == [*range(0, len(CONTENT), 1000), len(CONTENT)]
        assert wanted.count(3000) == 2

    with_two_controllers(test)


def test_an_image_goes_on_after_the_only_controller_came_back() -> None:
    async def test(host: Host, controller: Controller) -> None:
        def break_off(want: WantImage) -> None:
            if want.offset == 3000 and len(controller.wanted) == 4:
                host.lines[0].reset()

        controller.on_piece = break_off
        lost = later(controller.send(order(), Prepare(guest())))
        await controller.leased(2)
        assert (await controller.send(order(), Prepare(guest()))).error is None
        assert list(host.storage.disks) == [(SERVER, 1)]
        assert isinstance(lost.exception(), Exception)
        assert [want.offset for want in controller.wanted].count(0) == 1

    with_a_host(test)


def test_a_controller_that_gives_no_piece_is_passed_over_and_at_last_given_up() -> None:
    async def main() -> None:
        first, second = Controller(answers_pieces=False), Controller()
        host = Host(first, second)
        host.start()
        await first.leased()
        await second.leased()
        began = host.clock.monotonic()
        assert (await second.send(order(), Prepare(guest()))).result == Prepared(made=True)
        assert host.clock.monotonic() - began == pytest.approx(PIECE_S, abs=1)
        second.answers_pieces = False
        host.storage._images.clear()
        began = host.clock.monotonic()
        answer = await second.send(order(number=2), Prepare(guest()))
        assert (answer.why, "cannot be read" in str(answer.error)) == ("not_now", True)
        assert host.clock.monotonic() - began == pytest.approx(PATIENCE_S, abs=1)
        await host.end()

    run_virtual(main())


def test_an_image_that_is_not_to_be_had_is_refused() -> None:
    async def test(host: Host, controller: Controller) -> None:
        class OtherImage(SimulatedHypervisor):
            async def prepare(self, guest: Guest, images: ImageSource) -> bool:
                return bool([piece async for piece in images.read(ImageId("another"))])

        host.hypervisor.prepare = OtherImage(host.clock, host.storage).prepare  # type: ignore[method-assign]
        answer = await controller.send(order(), Prepare(guest()))
        assert (answer.why, answer.error) == ("refused", "image another: no such image")

    with_a_host(test)


# The whole again.


def history(seed: int) -> list[Any]:
    """Live through faults, and return everything that can be told about it."""

    async def main() -> list[Any]:
        controllers = Controller(), Controller()
        host = Host(*controllers, seed=seed, start_s=1, shut_down_s=2)
        host.start()
        told: list[Any] = []
        for number in range(1, 12):
            controller = controllers[number % 2]
            act = (Prepare(guest()), Start(guest()), SoftReboot(guest(), 10), Stop(5))[number % 4]
            work = later(controller.insist(order(number=number), act))
            await asyncio.sleep(host.chance.uniform(0, 2))
            line = host.lines[number % 2]
            if host.chance.uniform(0, 1) < 0.5:
                line.cut()
                await asyncio.sleep(host.chance.uniform(0, 30))
                line.heal()
            if host.chance.uniform(0, 1) < 0.3:
                told.append(list(host.life.points))
                host.crash()
                host.start()
            answer = await work
            told.append((host.clock.monotonic(), answer.result, answer.why, host.state))
        assert (await controllers[0].insist(order(number=99), Remove(disks=True))).error is None
        told += [controller.heard for controller in controllers]
        told.append(host.life.points)
        await host.end()
        return told

    return run_virtual(main(), limit_s=10_000)


def test_the_same_seed_has_the_same_history() -> None:
    assert history(1) == history(1)
    assert history(2) == history(2)
    assert history(1) != history(2)
