"""Waiting for the host that holds a volume: for a bounded time, and said to whoever looks at the action.

A compute host that is away ends the wait itself, by coming back or by being evacuated; nothing of the kind would ever
end a wait for storage that stays away. So what needs it waits for setting `storage_wait` and is refused then, which
its story brings to a true end (docs/decisions/0022). Shared by the stories.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from renova.model.errors import Refused, StorageAway, whole
from renova.operations.work import Work
from renova.store import actions

log = structlog.get_logger()
T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0  # between tries; doubling


class StorageStaysAway(Refused):
    """A storage host was waited for, and did not come back in time."""


async def with_storage(work: Work, call: Callable[[], Awaitable[T]]) -> T:
    """Call until no storage host is lacking, and return what it returns.

    `StorageStaysAway` after setting `storage_wait`. Meanwhile the action's message says what is waited for, and for
    how long. The call reads anew whatever it changes: it may be made many times.
    """
    clock, limit_s = work.cloud.clock, work.cloud.settings.storage_wait
    until, pause, said = clock.monotonic() + limit_s, FIRST_PAUSE_S, ""
    while True:
        try:
            done = await call()
        except StorageAway as away:
            if clock.monotonic() >= until:
                await _say(work, None)
                raise StorageStaysAway(f"{away}; it was waited for {limit_s:g} s") from away
            if str(away) != said:
                said = str(away)
                log.info("storage waited for", limit_s=limit_s, reason=whole(away))
                await _say(work, f"Waiting for up to {limit_s:g} s: {said}")
        except Exception:
            if said:
                await _say(work, None)  # it is something else that is lacking now
            raise
        else:
            if said:
                await _say(work, None)
            return done
        await clock.sleep(max(0.0, min(pause, until - clock.monotonic())))
        pause = min(2 * pause, LONGEST_PAUSE_S)


async def _say(work: Work, message: str | None) -> None:
    await work.note(lambda tx: actions.say(tx, work.held.action, message))
