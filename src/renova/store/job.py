"""A transaction that somebody waits for: what is to be done, what came of it, and telling of it. The writer runs it.

The simulated database server runs it likewise, so that both tell their callers the same in the same order.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from renova.store.database import Tx

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Job:
    """One transaction of a group. Told on the event loop of its future only."""

    fn: Callable[[Tx], Any]
    future: "asyncio.Future[Any]"
    result: Any = None
    error: Exception | None = None
    tx: Tx | None = None

    def undone(self) -> None:
        """Have nothing of it be done, before it runs again or never."""
        if self.tx is not None:
            self.tx.undone()
        self.result = self.error = self.tx = None

    def tell(self) -> None:
        """Do what was to follow its commit, and give the caller its result or its error."""
        if self.error is None and self.tx is not None:
            for call in self.tx.afterwards:
                try:
                    call()
                except Exception:  # it is committed all the same, and the others of the group wait to hear of theirs
                    log.error("what was to follow a commit failed", exc_info=True)
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)
