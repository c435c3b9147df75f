"""An agent may end at any point: what it was told again ends in the same state, and nothing old comes back to life."""

import asyncio
from typing import Any

import pytest

from renova.agent.journal import HostPage, ServerPage
from renova.model.errors import NotNow
from renova.model.ids import ServerId
from renova.simulation.loop import run_virtual
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
from renova.wire.commands import Order
from renova.wire.duties import Duty

from .host import IMAGE, SERVER, Controller, Host, guest, later, nic, order

# A server's life: created, rebooted, paused, suspended, copied, rebuilt, stopped, moved, and back.
LIFE: list[tuple[Order, AnyAct]] = [
    (order(number=1), Prepare(guest())),
    (order(number=1), Start(guest())),
    (order(number=2), SoftReboot(guest(), wait_s=60)),
    (order(number=2), Pause()),
    (order(number=2), Unpause()),
    (order(number=2), Suspend()),
    (order(number=2), Start(guest(), resume=True)),
    (order(number=2), Snapshot(image=IMAGE, disks=guest().disks)),
    (order(number=2), Upload(image=IMAGE)),
    (order(number=2), DropSnapshot(image=IMAGE)),
    (order(number=3), Stop(wait_s=0)),
    (order(number=3), Prepare(guest(generation=2))),
    (order(number=3), Start(guest(generation=2))),
    (order(number=3), DropDisks(keep=2)),
    (order(number=4), Stop(wait_s=60)),
    (order(number=5), Define(guest(generation=2, nics=(1, 2)))),
    (order(number=6), Start(guest(generation=2, nics=(2,)))),
    (order(number=7), Remove(disks=False)),
    (order(incarnation=2, number=7), Prepare(guest(2, generation=2), must_exist=True)),
    (order(incarnation=2, number=7), Start(guest(2, generation=2))),
    (order(incarnation=2, number=8), Remove(disks=True)),
]


async def crash_and_come_back(host: Host) -> None:
    """Whenever the agent's life ends, begin another one, which lasts."""
    await host.life.over.wait()
    host.crash()
    host.start()


def live(ends_at: int | None) -> tuple[list[dict[str, Any]], list[str], int]:
    """Live through LIFE with a crash at that point; return the states after each act, the points, and the hellos."""

    async def main() -> tuple[list[dict[str, Any]], list[str], int]:
        controller = Controller()
        host = Host(controller, shut_down_s=1)
        host.start(ends_at)
        first = host.life
        reviver = later(crash_and_come_back(host))
        states = []
        for order_, act in LIFE:
            answer = await controller.insist(order_, act)
            assert answer.error is None, answer
            states.append(host.state)
        for order_, act in LIFE[:-1]:
            assert (await controller.insist(order_, act)).why == "stale"
        assert host.state == states[-1]
        points = list(first.points)
        reviver.cancel()
        await host.end()
        return states, points, len(controller.hellos)

    return run_virtual(main(), limit_s=3600)


STATES, POINTS, _ = live(None)


def test_the_life_is_what_it_should_be() -> None:
    running = [state["guests"].get(SERVER) for state in STATES]
    assert running == [
        *[None, 1, 1, None, 1, None, 1, 1, 1, 1, None, None, 1, 1],
        *[None, None, 1, None, None, 2, None],
    ]
    assert STATES[16]["segments"] == {100: [nic(2).port]}
    assert STATES[-1] == {"guests": {}, "disks": [], "owners": {}, "segments": {}}
    assert len(POINTS) > 100


@pytest.mark.parametrize("point", range(len(POINTS)), ids=[f"{at}-{point}" for at, point in enumerate(POINTS)])
def test_a_crash_at_any_point_ends_in_the_same_state(point: int) -> None:
    states, points, hellos = live(point)
    assert states == STATES
    assert len(points) == point + 1
    assert hellos in (1, 2)  # 1 if it ended before its first hello


def test_the_journal_is_written_before_anything_is_touched() -> None:
    async def main() -> None:
        controller = Controller()
        host = Host(controller)
        host.start()
        await controller.leased()
        for order_, act in LIFE:
            before = len(host.life.points)
            known = await host.journal.server(SERVER)
            await controller.insist(order_, act)
            points = host.life.points[before:]
            touched = [
                at
                for at, point in enumerate(points)
                if point.startswith("before") and not point.endswith((".guest", ".server", ".write_server"))
            ]
            if (known.incarnation, known.number) != (order_.incarnation, order_.number):
                assert points.index("after journal.write_server") < touched[0], points
            page = await host.journal.server(SERVER)
            assert (page.incarnation, page.number) == (order_.incarnation, order_.number)
        await host.end()

    run_virtual(main())


@pytest.mark.parametrize("reached_the_disk", [True, False])
def test_without_a_journal_nothing_is_done(reached_the_disk: bool) -> None:
    async def main() -> None:
        controller = Controller()
        host = Host(controller)
        host.start()
        await controller.leased()
        await controller.send(order(number=1), Prepare(guest()))
        write = host.journal.write_server

        async def fail(server: ServerId, page: ServerPage) -> None:
            if reached_the_disk:
                await write(server, page)
            raise NotNow("the journal cannot be written: no space left on device")

        host.journal.write_server = fail  # type: ignore[method-assign]
        for _ in range(2):
            answer = await controller.send(order(number=2), Start(guest()))
            assert (answer.why, host.state["segments"]) == ("not_now", {}) or reached_the_disk
        assert (await controller.send(order(number=3), Remove(disks=True))).why == "not_now"
        assert list(host.storage.disks) == [(SERVER, 1)]
        host.journal.write_server = write  # type: ignore[method-assign]
        assert (await controller.send(order(number=3), Remove(disks=True))).error is None
        await host.end()

    run_virtual(main())


def test_an_agent_begins_once_its_journal_can_be_written() -> None:
    async def main() -> None:
        controller = Controller()
        host = Host(controller)
        write, failed = host.journal.write_host, 0

        async def fail(page: HostPage) -> None:
            nonlocal failed
            failed += 1
            if failed < 5:
                raise NotNow("the disk gives errors")
            await write(page)

        host.journal.write_host = fail  # type: ignore[method-assign]
        host.start()
        await controller.leased()
        assert failed >= 5
        await host.end()

    run_virtual(main())


def test_a_duty_is_done_whatever_happens() -> None:
    async def main(ends_at: int | None) -> tuple[dict[str, Any], int]:
        controller = Controller()
        host = Host(controller)
        host.start()
        for order_, act in LIFE[:2]:
            await controller.insist(order_, act)
        await host.stop()
        controller.epoch, controller.duties = 2, (Duty(SERVER, 2, disks=True),)
        host.start(ends_at)
        life, reviver = host.life, later(crash_and_come_back(host))
        async with asyncio.timeout(60):
            while not controller.cleaned:
                await host.clock.sleep(0.1)
        assert (await controller.insist(order(number=9), Start(guest()))).why == "stale"
        points = len(life.points)
        reviver.cancel()
        await host.end()
        return host.state, points

    clean, points = run_virtual(main(None))
    assert clean == {"guests": {}, "disks": [], "owners": {}, "segments": {}}
    for point in range(points):
        assert run_virtual(main(point))[0] == clean
