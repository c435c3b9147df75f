"""Users are told what failed; which host it was, and what was said there, only operators."""

from collections.abc import Awaitable, Callable

import pytest

from renova.model.errors import Refused
from renova.model.ids import ServerId
from renova.operations.migrate import accept_migrate
from renova.operations.reboot import accept_reboot
from renova.operations.rebuild import Rebuild, accept_rebuild
from renova.store import actions
from tests.operations.failing_hosts import break_start
from tests.operations.story import Told, an_image, told_story

SAID = "cannot bind 10.1.0.7 as compute-secret"

Begin = Callable[[Told, Exception], Awaitable[ServerId]]


def break_every_start(told: Told, error: Exception) -> None:
    for name in told.cloud.hosts:
        break_start(told.cloud, name, error)


async def created(told: Told, error: Exception) -> ServerId:
    break_every_start(told, error)
    return await told.create()


async def rebooted(told: Told, error: Exception) -> ServerId:
    server = await told.created()
    break_every_start(told, error)
    await told.ask(accept_reboot, server, hard=True)
    return server


async def rebuilt(told: Told, error: Exception) -> ServerId:
    server = await told.created()
    break_every_start(told, error)
    await told.ask(accept_rebuild, server, Rebuild(image=an_image("two"), admin_pass=""))
    return server


async def migrated(told: Told, error: Exception) -> ServerId:
    server = await told.created()
    home = (await told.get(server)).host_name
    for name in told.cloud.hosts:
        if name != home:
            break_start(told.cloud, name, error)
    await told.ask(accept_migrate, server, None)
    return server


@pytest.mark.parametrize("begin", [created, rebooted, rebuilt, migrated])
@pytest.mark.parametrize(
    ("error", "told_to_users"),
    [(Refused("libvirt refuses", details=SAID), "libvirt refuses"), (OSError(SAID), "the host's log holds its cause")],
)
def test_what_a_host_said_and_which_it_was_is_told_to_operators_only(
    begin: Begin, error: Exception, told_to_users: str
) -> None:
    async def story(told: Told) -> None:
        server = await begin(told, error)
        ended = await told.idle(server)
        assert ended.fault is not None
        assert told_to_users in ended.fault.message
        for secret in ("secret", "10.1.0.7", *told.cloud.hosts):
            assert secret not in ended.fault.message
        newest = await told.cloud.database.read(lambda tx: actions.newest(tx, server))
        assert newest is not None
        events = await told.cloud.database.read(lambda tx: actions.events_of(tx, newest.id))
        # As `details` of the server's fault and of the action's events, which only administrators see.
        for said in (ended.fault.details, ended.fault.in_full, str([event.details for event in events])):
            assert SAID in said
            assert any(f"host {name}" in said for name in told.cloud.hosts)

    told_story(story)
