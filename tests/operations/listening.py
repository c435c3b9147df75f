"""Stories that are told to somebody who listens: which events came, in which order."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from renova.model.errors import NotNow
from renova.model.ids import ServerId
from renova.partners.notifications import CloudEvent
from renova.settings import ControllerSettings
from renova.simulation.cloud import BY_HAND, NO_BRAKE, QUICK_LEASE
from renova.simulation.loop import run_virtual
from renova.store import notices
from tests.operations.story import Told

SETTINGS = ControllerSettings(
    lease=QUICK_LEASE, recovery=BY_HAND, brake=NO_BRAKE, soft_reboot_wait=10, shutdown_wait=10
)


class Listener:
    """Takes events, and keeps them; `away` while it does not."""

    def __init__(self) -> None:
        self.heard: list[CloudEvent] = []
        self.away = False

    async def deliver(self, event: CloudEvent) -> None:
        if self.away:
            raise NotNow("away")
        self.heard.append(event)

    async def close(self) -> None: ...

    def of(self, server: ServerId, *, since: int = 0) -> list[str]:
        """Tell the server's events from number `since` on; an update by what became of its states."""
        return [told_event(event) for event in self.heard[since:] if event.subject == server]


def data(event: CloudEvent) -> Any:
    return msgspec.json.decode(event.data)


def told_event(event: CloudEvent) -> str:
    if event.type != "instance.update":
        return event.type.removeprefix("instance.")
    states = data(event)["payload"]["nova_object.data"]["state_update"]["nova_object.data"]
    return f"{states['state']} {states['new_task_state'] or '-'}"


async def all_told(cloud: Told) -> None:
    """Wait until nothing waits to be told."""
    while await cloud.cloud.database.read(notices.waiting):
        await cloud.cloud.clock.sleep(0.1)


def hear(
    story: Callable[[Told, Listener], Awaitable[None]],
    settings: ControllerSettings = SETTINGS,
    *,
    calm: bool = True,
    **options: Any,
) -> None:
    """Have a story told and heard; in the end all must be well, unless the story leaves it (not `calm`)."""

    async def whole() -> None:
        listener = Listener()
        told = await Told(sink=listener, settings=settings, **options).begin()
        await story(told, listener)
        if calm:
            await told.check()
        await told.cloud.down()

    run_virtual(whole())
