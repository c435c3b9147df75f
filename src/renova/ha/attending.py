"""What one controller at a time does for all: it looks again and again, for as long as it holds the post for that.

All that was decided is in the database, so whoever holds the post next goes on. Who is only frozen may look once more:
so what is decided in a look is decided in a transaction that asks whether the post is still ours (`store.posts.holds`).
"""

from collections.abc import Awaitable, Callable

import structlog

from renova.engine.executor import Executor
from renova.model.errors import NotNow
from renova.operations.cloud import Cloud
from renova.store.posts import Post

log = structlog.get_logger()

LOOK = 1.0  # seconds between looks


async def attend(cloud: Cloud, me: Executor, post: str, look: Callable[[], Awaitable[None]]) -> None:
    """Look while the post is ours, until cancelled; what something is away for waits until the next look."""
    held = Post(cloud.database, me, post)
    while True:
        try:
            if await held.mine():
                await look()
        except NotNow:
            log.warning("post not attended to", post=post, exc_info=True)
        await cloud.clock.sleep(LOOK)
