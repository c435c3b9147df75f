"""Events are told in a form that others know, once committed, after a crash too; who is away long loses the oldest."""

import msgspec
import pytest

from renova.model.server import VmState
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.reboot import accept_reboot
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.operations.stop import accept_stop
from renova.partners.notifications import CloudEvent
from renova.simulation.loop import run_virtual
from renova.store import actions, notices
from tests.operations.failing_hosts import dead_host_of
from tests.operations.listening import SETTINGS, Listener, all_told, data, hear, told_event
from tests.operations.story import FLAVOR, Told, an_image


def test_each_event_bears_the_request_that_it_is_about() -> None:
    async def story(told: Told, listener: Listener) -> None:
        server = await told.created()
        told.cloud.hosts["host1"].hypervisor.ignoring_acpi.add(server)
        await all_told(told)
        before = len(listener.heard)
        await told.ask(accept_reboot, server, hard=False)
        await told.cloud.clock.sleep(1)
        await told.ask(accept_reboot, server, hard=True)
        await told.idle(server)
        await all_told(told)
        hard, soft = (await told.cloud.database.read(lambda tx: actions.of_server(tx, server)))[:2]
        heard = [(told_event(event), request_of(event)) for event in listener.heard[before:]]
        over = heard.index(("active rebooting_hard", hard.request))
        assert {request for _, request in heard[:over]} == {soft.request}
        assert {request for _, request in heard[over:]} == {hard.request}

    def request_of(event: CloudEvent) -> str:
        found: str = data(event)["payload"]["nova_object.data"]["request_id"]
        return found

    hear(story, count=1)


def test_an_event_is_a_cloud_event_that_holds_novas_notification() -> None:
    async def story(told: Told, listener: Listener) -> None:
        server = await told.get(await told.created())
        await all_told(told)
        event = listener.heard[-1]
        assert (event.specversion, event.type, event.subject) == ("1.0", "instance.create.end", server.id)
        assert event.source == SETTINGS.url
        message = data(event)
        assert (message["event_type"], message["priority"]) == ("instance.create.end", "INFO")
        assert message["publisher_id"] == f"nova-compute:{server.host_name}"
        assert len({event.id for event in listener.heard}) == len(listener.heard)
        assert [event.sequence for event in listener.heard] == sorted(event.sequence for event in listener.heard)

    hear(story)


@pytest.mark.parametrize("form", ["legacy", "both"])
def test_older_names_are_told_where_they_are_wanted(form: str) -> None:
    async def story(told: Told, listener: Listener) -> None:
        server = await told.created()
        await dead_host_of(told, server)
        await told.ask(accept_evacuate, server, Evacuation())
        await told.idle(server)
        await all_told(told)
        types = [event.type for event in listener.heard]
        for name in ("compute.instance.evacuate", "compute.instance.rebuild.scheduled", "compute.instance.rebuild.end"):
            assert types.count(name) == 1
        assert ("instance.evacuate" in types) == (form == "both")

    settings = msgspec.structs.replace(SETTINGS, notification_format=form)

    hear(story, settings)


def test_what_was_committed_before_a_crash_is_told_after_it() -> None:
    async def story(told: Told, listener: Listener) -> None:
        server = await told.created()
        await all_told(told)
        listener.away = True
        await told.ask(accept_stop, server)
        await told.idle(server)
        assert await told.cloud.database.read(notices.waiting) == 4
        await told.cloud.kill_controller()
        listener.away = False
        await told.cloud.start_controller()
        await all_told(told)
        assert listener.of(server)[-4:] == ["active powering-off", "power_off.start", "stopped -", "power_off.end"]
        await told.host_up("host1")

    hear(story)


def test_what_was_not_committed_is_not_told() -> None:
    async def story(told: Told, listener: Listener) -> None:
        huge = msgspec.structs.replace(FLAVOR, memory_mb=10_000_000)
        server = await told.idle(await told.create(flavor=huge))
        assert server.vm_state is VmState.ERROR
        await all_told(told)
        assert listener.of(server.id) == ["building scheduling", "error -", "create.error"]

    hear(story)


def test_a_receiver_that_is_away_too_long_loses_the_oldest_and_it_is_counted() -> None:
    async def story(told: Told, listener: Listener) -> None:
        listener.away = True
        server = await told.created()
        await told.cloud.clock.sleep(120)
        assert await told.cloud.database.read(notices.waiting) == 2
        assert told.cloud.cloud.notices.dropped == 4
        listener.away = False
        await all_told(told)
        assert listener.of(server) == ["active -", "create.end"]

    hear(story, msgspec.structs.replace(SETTINGS, notification_count=2))


def test_nothing_is_written_where_nobody_is_told() -> None:
    async def whole() -> None:
        told = await Told().begin()
        await told.created()
        assert await told.cloud.database.read(notices.waiting) == 0
        assert told.cloud.database.watch is None
        await told.cloud.down()

    run_virtual(whole())


def test_no_secret_is_told() -> None:
    async def story(told: Told, listener: Listener) -> None:
        server = await told.created(user_data="dG9wIHNlY3JldA==", admin_pass="hunter2")
        await told.ask(accept_rebuild, server, Rebuild(image=an_image("two"), admin_pass="hunter3"))
        await told.idle(server)
        await all_told(told)
        everything = b"".join(bytes(event.data) for event in listener.heard)
        for secret in (b"dG9wIHNlY3JldA==", b"hunter2", b"hunter3"):
            assert secret not in everything

    hear(story)
