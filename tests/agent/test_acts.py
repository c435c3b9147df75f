"""Each act, through the whole agent: what it leaves on the host, and what it answers."""

import asyncio
import hashlib

import pytest

from renova.model.errors import Refused
from renova.model.guest import FoundGuest, PowerState
from renova.model.ids import ImageId, ServerId
from renova.wire.acts import (
    AnyAct,
    Define,
    DropDisks,
    DropSnapshot,
    Pause,
    Prepare,
    Remove,
    Snapshot,
    SoftReboot,
    Start,
    Stop,
    Suspend,
    Unpause,
    Upload,
)
from renova.wire.results import ConsoleText, Copied, Prepared, Rebooted, Saved, State

from .host import IMAGE, SERVER, Controller, Host, guest, later, order, with_a_host

RUNNING = State(FoundGuest(SERVER, 1, PowerState.RUNNING, 1))
OFF = State(FoundGuest(SERVER, 1, PowerState.SHUTDOWN, 1))


async def do(controller: Controller, act: AnyAct, number: int = 1) -> object:
    answer = await controller.send(order(number=number), act)
    assert answer.error is None, answer
    return answer.result


async def running(controller: Controller) -> None:
    await do(controller, Prepare(guest()))
    assert await do(controller, Start(guest())) == RUNNING


def test_a_guest_is_prepared_once_and_started() -> None:
    async def test(host: Host, controller: Controller) -> None:
        assert await do(controller, Prepare(guest())) == Prepared(made=True)
        assert await do(controller, Prepare(guest())) == Prepared(made=False)
        assert await do(controller, Prepare(guest(), must_exist=True)) == Prepared(made=False)
        assert await do(controller, Start(guest())) == RUNNING
        assert await do(controller, Start(guest())) == RUNNING
        assert host.network.segments == {100: {"port-1"}}
        assert host.hypervisor.executing() == {SERVER: 1}

    with_a_host(test)


def test_a_disk_that_must_exist_is_not_made() -> None:
    async def test(host: Host, controller: Controller) -> None:
        answer = await controller.send(order(), Prepare(guest(), must_exist=True))
        assert (answer.why, host.storage.disks) == ("refused", {})
        assert "disks of generation 1" in str(answer.error)

    with_a_host(test)


def test_a_guest_is_defined_and_stays_off() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await do(controller, Prepare(guest()))
        assert await do(controller, Define(guest())) == OFF
        assert host.network.segments == {100: {"port-1"}}
        assert host.hypervisor.executing() == {}

    with_a_host(test)


def test_nics_that_a_guest_no_longer_has_are_unplugged() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await do(controller, Prepare(guest()))
        await do(controller, Define(guest(nics=(1, 2))))
        await do(controller, Start(guest(nics=(2, 3))))
        assert host.network.segments == {100: {"port-2", "port-3"}}
        await do(controller, Remove(disks=True))
        assert host.network.segments == {}

    with_a_host(test)


def test_a_stop_asks_first_and_then_forces() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await running(controller)
        assert await do(controller, Stop(wait_s=60)) == OFF
        assert host.clock.monotonic() < 20
        await do(controller, Start(guest()))
        host.hypervisor.ignoring_acpi.add(SERVER)
        began = host.clock.monotonic()
        assert await do(controller, Stop(wait_s=60)) == OFF
        assert host.clock.monotonic() - began > 59
        await do(controller, Start(guest()))
        began = host.clock.monotonic()
        assert await do(controller, Stop(wait_s=0)) == OFF
        assert host.clock.monotonic() == began
        assert await do(controller, Stop(wait_s=0)) == OFF

    with_a_host(test, shut_down_s=5)


def test_stopping_what_is_not_there_is_no_error() -> None:
    async def test(host: Host, controller: Controller) -> None:
        assert await do(controller, Stop(wait_s=10)) == State(None)

    with_a_host(test)


def test_a_paused_guest_goes_on_only_where_guests_may_start() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await running(controller)
        for _ in range(2):
            assert await do(controller, Pause()) == State(FoundGuest(SERVER, 1, PowerState.PAUSED, 1))
        for _ in range(2):
            assert await do(controller, Unpause()) == RUNNING
        await do(controller, Pause())
        controller.acknowledges = False
        await host.clock.sleep(controller.ttl + 1)
        answer = await controller.send(order(), Unpause())
        assert (answer.why, host.hypervisor.executing()) == ("not_now", {})

    with_a_host(test)


def test_a_suspended_guest_is_resumed_from_its_memory() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await running(controller)
        host.hypervisor.write(SERVER, "x")
        for _ in range(2):
            assert await do(controller, Suspend()) == Saved(done=True)
        assert host.hypervisor.executing() == {}
        for _ in range(2):
            assert await do(controller, Start(guest(), resume=True)) == RUNNING
        await do(controller, Stop(wait_s=0))
        assert await do(controller, Suspend()) == Saved(done=False)
        assert host.storage.disks[SERVER, 1].boots == 1

    with_a_host(test)


def test_a_copy_is_sent_to_the_controller_that_asks() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await running(controller)
        image = ImageId("copy-1")
        copied = await do(controller, Snapshot(image=image, disks=guest().disks))
        assert isinstance(copied, Copied)
        assert await do(controller, Snapshot(image=image, disks=guest().disks)) == copied
        assert await do(controller, Upload(image=image)) == copied
        content = b"".join(sent.data for sent in controller.sent)
        assert (len(content), {sent.image for sent in controller.sent}) == (copied.size, {image})
        assert controller.sent[-1].sha256 == hashlib.sha256(content).hexdigest()
        for _ in range(2):
            assert await do(controller, DropSnapshot(image=image)) == RUNNING
        assert host.storage.copies == {}
        assert (await controller.send(order(), Upload(image=image))).why == "refused"

    with_a_host(test)


def test_a_copy_that_is_not_taken_is_not_sent_on() -> None:
    async def test(_host: Host, controller: Controller) -> None:
        await running(controller)
        await do(controller, Snapshot(image=IMAGE, disks=guest().disks))
        controller.refuses_bytes = "nobody asked"
        answer = await controller.send(order(), Upload(image=IMAGE))
        assert (answer.why, len(controller.sent)) == ("refused", 1)
        assert "nobody asked" in str(answer.error)

    with_a_host(test)


def test_a_soft_reboot_restarts_the_guest_or_says_that_it_did_not_heed() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await running(controller)
        host.hypervisor.write(SERVER, "x")
        assert await do(controller, SoftReboot(guest(), wait_s=60), number=2) == Rebooted(done=True)
        host.hypervisor.write(SERVER, "y")
        assert host.storage.disks[SERVER, 1].boots == 2
        host.hypervisor.ignoring_acpi.add(SERVER)
        assert await do(controller, SoftReboot(guest(), wait_s=60), number=3) == Rebooted(done=False)
        assert host.hypervisor.executing() == {SERVER: 1}
        host.hypervisor.power_off_inside(SERVER)
        assert await do(controller, SoftReboot(guest(), wait_s=60), number=4) == Rebooted(done=True)
        assert host.hypervisor.executing() == {SERVER: 1}

    with_a_host(test, shut_down_s=5)


def test_a_guest_is_rebooted_once_however_often_its_operation_asks() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await running(controller)
        host.hypervisor.write(SERVER, "x")
        for _ in range(2):  # whoever asked did not hear the answer
            assert await do(controller, SoftReboot(guest(), wait_s=60), number=2) == Rebooted(done=True)
        for _ in range(2):
            await do(controller, Stop(wait_s=0, restarts=True), number=3)
            assert await do(controller, Start(guest()), number=3) == RUNNING
            host.hypervisor.write(SERVER, "y")
        assert host.storage.disks[SERVER, 1].boots == 3
        assert await do(controller, Stop(wait_s=0), number=3) == OFF

    with_a_host(test)


def test_disks_are_dropped_but_the_one_to_keep() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await do(controller, Prepare(guest(generation=1)))
        await do(controller, Prepare(guest(generation=2)))
        assert await do(controller, DropDisks(keep=2)) == State(None)
        assert list(host.storage.disks) == [(SERVER, 2)]
        assert await do(controller, DropDisks(keep=None)) == State(None)
        assert host.storage.disks == {}

    with_a_host(test)


def test_disks_that_a_newer_incarnation_owns_are_left_alone() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await do(controller, Prepare(guest()))
        host.storage.own(SERVER, 2)  # by another host that shares the storage
        assert await do(controller, DropDisks(keep=None)) == State(None)
        assert await do(controller, Remove(disks=True)) == State(None)
        assert list(host.storage.disks) == [(SERVER, 1)]

    with_a_host(test)


@pytest.mark.parametrize("disks", [True, False])
def test_after_remove_nothing_is_here_and_the_incarnation_is_dead(disks: bool) -> None:
    async def test(host: Host, controller: Controller) -> None:
        await running(controller)
        assert await do(controller, Remove(disks=disks), number=2) == State(None)
        assert await host.hypervisor.guests() == []
        assert host.network.segments == {}
        assert bool(host.storage.disks) is not disks
        for act in (Prepare(guest()), Start(guest()), Stop(wait_s=0)):
            answer = await controller.send(order(number=3), act)
            assert (answer.why, answer.error) == ("stale", "incarnation 1 was given up here")
        assert await do(controller, Remove(disks=disks), number=2) == State(None)
        assert (await controller.send(order(incarnation=2, number=3), Prepare(guest(2)))).error is None

    with_a_host(test)


def test_a_remove_unplugs_what_an_earlier_agent_plugged() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await running(controller)
        await host.stop()
        assert host.hypervisor.executing() == {SERVER: 1}
        host.start()
        await controller.leased(2)
        await do(controller, Remove(disks=True), number=2)
        assert host.network.segments == {}

    with_a_host(test)


def test_errors_say_what_to_do_next() -> None:
    async def test(host: Host, controller: Controller) -> None:
        answer = await controller.send(order(), Start(guest()))
        assert (answer.why, answer.result) == ("refused", None)
        host.hypervisor.go_away()
        other = ServerId("5e000000-0000-4000-8000-000000000002")
        answer = await controller.send(order(server=other), Prepare(guest(server=other)))
        assert (answer.why, answer.error) == ("not_now", "the hypervisor does not answer")
        host.hypervisor.come_back()
        answer = await controller.send(order(incarnation=2), Start(guest(1)))
        assert answer.why == "broken"

        async def fail(_nics: object) -> None:
            raise ZeroDivisionError("a bug")

        host.network.plug = fail  # type: ignore[method-assign, assignment]
        answer = await controller.send(order(), Start(guest()))
        assert (answer.why, answer.details) == ("broken", "ZeroDivisionError: a bug")
        assert "a bug" not in (answer.error or "")

        async def refuse(_nics: object) -> None:
            raise Refused("no such bridge")

        host.network.plug = refuse  # type: ignore[method-assign, assignment]
        answer = await controller.send(order(), Start(guest()))
        assert (answer.why, answer.error) == ("refused", "no such bridge")

    with_a_host(test)


def test_the_console_is_read_while_the_guest_is_being_changed() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await running(controller)
        host.hypervisor.ignoring_acpi.add(SERVER)
        stopping = later(do(controller, Stop(wait_s=60), number=2))
        await asyncio.sleep(1)
        answer = await controller.read_console(SERVER, 100)
        assert answer.result == ConsoleText(b"GUEST-READY vm boots=1\n")
        assert not stopping.done()
        await stopping
        host.hypervisor.go_away()
        assert (await controller.read_console(SERVER)).why == "not_now"
        host.hypervisor.come_back()

    with_a_host(test)


def test_images_come_in_pieces_and_a_missing_one_is_refused() -> None:
    async def test(host: Host, controller: Controller) -> None:
        await do(controller, Prepare(guest()))
        assert [want.offset for want in controller.wanted] == [*range(0, 10240, 1000), 10240]
        assert {want.image for want in controller.wanted} == {IMAGE}

    with_a_host(test)
