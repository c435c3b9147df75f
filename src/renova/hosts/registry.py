"""What this controller knows of all hosts: what the database says of them, and what their connections brought since.

It knows of a host whichever controller has its connection; `agents` has those that are connected to this one.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from renova.engine.executor import Executor
from renova.hosts.leases import Leases
from renova.hosts.witnessing import Witnessing
from renova.model.clock import Clock
from renova.model.errors import NotNow
from renova.model.guest import GuestChanged
from renova.model.host import Host, HostState, Role
from renova.model.ids import HostId
from renova.model.sighting import Sighting
from renova.settings import LeaseTimes
from renova.store.database import Database


class _Known(NamedTuple):
    """A host's state as the database had it at a moment (monotonic)."""

    state: HostState
    as_of: float


class Hosts:
    """Who is up, and who is told when that changes."""

    def __init__(
        self, *, database: Database, clock: Clock, times: LeaseTimes, me: Executor, witnessing: Witnessing | None = None
    ) -> None:
        self._clock = clock
        self._states: dict[HostId, _Known] = {}
        self.leases = Leases(database, clock, times, me, witnessing)
        self.seek_proof: Callable[[HostId], Awaitable[bool]] = _seek_nothing  # set by who watches the hosts
        self.vouch: Callable[[HostId, str, bool], Awaitable[None]] = _believe_nobody  # set likewise
        self.sighted: Callable[[HostId], Sighting] = lambda _host: Sighting()  # set likewise: what others see of it
        self.on_change: Callable[[HostId], None] = lambda _host: None  # a host came, went or changed
        self.on_up: Callable[[HostId], None] = lambda _host: None  # a host is up, or has cleaned something up
        self.on_storage: Callable[[HostId], None] = lambda _host: None  # a storage host is here, and serves nothing
        self.on_report: Callable[[HostId, tuple[GuestChanged, ...]], Awaitable[None]] = _nobody_follows

    def up(self, host: HostId) -> bool:
        """Say whether the host is heard, here or by another controller, and in its place.

        The database may know more (`forced_down`).
        """
        known = self._states.get(host)
        return self.leases.alive(host) and (known is None or known.state is HostState.UP)

    @property
    def settled(self) -> bool:
        """Say whether this controller has listened long enough to know which hosts are silent."""
        return self.leases.settled

    def learn(self, rows: Sequence[Host], read_at: float) -> list[Host]:
        """Go by what the database said of all hosts after the moment `read_at` (monotonic), where nothing is newer.

        Returns those whose guests may be waiting for somebody: another controller has changed their state, or left
        a note to resume them.
        """
        rows_read = {row.id for row in rows}
        self._states = {host: known for host, known in self._states.items() if host in rows_read}
        waiting = []
        for row in rows:
            before = self._states.get(row.id)
            if before is not None and before.as_of >= read_at:
                continue
            self.note(row.id, row.state, read_at)
            if row.resume or (before is not None and before.state is not row.state):
                waiting.append(row)
        return waiting

    def note(self, host: HostId, state: HostState, as_of: float) -> None:
        """Note the host's state as it was in the database at that moment (monotonic)."""
        former = self._states.get(host)
        self._states[host] = _Known(state, as_of)
        if former is None or former.state is not state:
            self.on_change(host)

    def tell_up(self, host: Host) -> None:
        """Tell that the host is connected here, if it is up; while it still cleans up, nothing may start there."""
        if self._states[host.id].state is HostState.UP:
            (self.on_up if host.role is Role.COMPUTE else self.on_storage)(host.id)


async def _believe_nobody(_host: HostId, _who: str, _at_once: bool) -> None:
    raise NotNow("this controller does not watch the hosts yet")


async def _nobody_follows(_host: HostId, _changes: tuple[GuestChanged, ...]) -> None:
    pass


async def _seek_nothing(_host: HostId) -> bool:
    return False
