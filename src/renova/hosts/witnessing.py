"""Finds out whether a host reads what this controller writes into the witness, and has a file there for each lease.

The file of a lease has a word in it that was made by chance. A guard that says this word has read the file: so it reads
the directory that is written here, and is told that it may go by it. Nothing here is waited for by any renewal.
"""

import asyncio

import structlog

from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.model.errors import NotNow
from renova.model.ids import HostId
from renova.witness import LeaseName, Shown, Witness

log = structlog.get_logger()

AGAIN_S = 5.0  # until the witness is tried again for the same host


class Witnessing:
    """What this controller knows of the leases' files."""

    def __init__(self, witness: Witness, clock: Clock, chance: Chance) -> None:
        self._witness = witness
        self._clock = clock
        self._chance = chance
        self._known: dict[HostId, tuple[LeaseName, Shown]] = {}
        self._tried: dict[HostId, float] = {}  # monotonic
        self._tasks: set[asyncio.Task[None]] = set()
        self.trouble: str | None = None  # why the witness could not be used when it was last tried

    def is_read(self, lease: LeaseName, word: str) -> bool:
        """Say whether who says this word reads the lease's file, in which nothing was said of a revocation."""
        return bool(word) and self._known.get(lease.host) == (lease, Shown(word, revoked=False))

    def want(self, lease: LeaseName) -> None:
        """Have a file of this lease before long, and know its word."""
        now = self._clock.monotonic()
        if now - self._tried.get(lease.host, -AGAIN_S) < AGAIN_S:
            return
        self._tried[lease.host] = now
        task = asyncio.get_running_loop().create_task(self._have(lease), name=f"witness-{lease.host}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _have(self, lease: LeaseName) -> None:
        try:
            shown = await self._witness.have(lease, self._chance.uuid())
        except NotNow as error:
            if self.trouble is None:
                log.warning("witness not written", reason=str(error))
            self.trouble = str(error)
            return
        self.trouble = None
        self._known[lease.host] = lease, shown
