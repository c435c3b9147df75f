"""All tables in memory, for tests that change rows and look at them; hosts and servers to fill them with."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from renova.model.clock import stamp
from renova.model.flavor import Flavor
from renova.model.guest import PowerState
from renova.model.host import HostState, Lease
from renova.model.ids import HostId, ProjectId, ServerId, UserId
from renova.model.server import Server, VmState
from renova.store import hosts, servers
from renova.store.database import Tx
from renova.store.session import Session
from tests.databases import empty_session

T = TypeVar("T")

PROJECT, USER = ProjectId("project"), UserId("user")
A, B, C = HostId("host-a"), HostId("host-b"), HostId("host-c")
ONE, TWO = ServerId("server-1"), ServerId("server-2")
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class Tables:
    """Every `do` is a transaction of its own, a second after the last; `forget` empties all tables again."""

    def __init__(self) -> None:
        self.now = BEGINNING
        self._session: Session | None = None
        self._begun = False

    def do(self, fn: Callable[[Tx], T]) -> T:
        self.now += timedelta(seconds=1)
        session = self._session = self._session or empty_session()
        if not self._begun:
            session.begin()
            self._begun = True
        tx = Tx(session, stamp(self.now))
        session.savepoint()
        try:
            result = fn(tx)
        except BaseException:
            session.undo()
            tx.undone()
            raise
        session.release()
        for call in tx.afterwards:
            call()
        return result

    def forget(self) -> None:
        if self._session is not None:
            self._session.rollback()
        self._begun = False
        self.now = BEGINNING


def add_host(tx: Tx, host: HostId, epoch: int = 1, state: HostState = HostState.UP) -> None:
    """Have a host of this state, with a lease."""
    hosts.add(tx, host, f"name-of-{host}", "10.1.0.1", f"certificate of {host}")
    hosts.begin_lease(tx, host, epoch, "boot", ttl=20.0, margin=12.0)
    hosts.change(tx, host, state=state)


def lease(tx: Tx, host: HostId) -> Lease:
    found = hosts.lease(tx, host)
    assert found is not None
    return found


def prove(tx: Tx, host: HostId) -> None:
    assert hosts.prove_dead(tx, lease(tx, host), "power_off", {}, "a test")


def come_back(tx: Tx, host: HostId) -> None:
    """Have a dead host up again, under the epoch that its death gave it."""
    hosts.change(tx, host, state=HostState.UP)


def a_server(server: ServerId, **values: Any) -> Server:
    fields: dict[str, Any] = {
        "id": server,
        "serial": 0,
        "project": PROJECT,
        "user": USER,
        "name": f"name-of-{server}",
        "hostname": "vm",
        "vm_state": VmState.ACTIVE,
        "task_state": None,
        "power_state": PowerState.RUNNING,
        "flavor": Flavor(id="1", name="tiny", vcpus=1, memory_mb=512, root_gb=1),
        "image": None,
        "created_at": "2026-01-01T00:00:00.000000",
        "updated_at": "2026-01-01T00:00:00.000000",
    }
    return Server(**fields | values)


def add_server(tx: Tx, server: ServerId, **values: Any) -> None:
    servers.add(tx, a_server(server, **values))
