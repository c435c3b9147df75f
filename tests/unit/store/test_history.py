"""After a failover that may have lost commits all is on hold, before anything else is done."""

import pytest

from renova.model.errors import Conflict
from renova.store import cluster
from renova.store.cluster import Cluster
from renova.store.database import Tx
from renova.store.history import DatabaseHistory
from tests.unit.store.tables import Tables

ONE, TWO, THREE = (f"0000000{number} of 7" for number in (1, 2, 3))
COPY = "00000002 of 8"
GAP = 100


class Server:
    """The server as controllers find it."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.timeline = ONE
        self.synchronous = True

    def controller(self) -> "Controller":
        """Return a controller that has just begun."""
        return Controller(self)


class Controller:
    """One that looks at each transaction's beginning, and notes what it sees now and then."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._history = DatabaseHistory(
            lambda: server.timeline, lambda _tx: server.timeline, lambda _tx: server.synchronous
        )
        self.begin = self._history.begin

    def standing(self) -> Cluster:
        def work(tx: Tx) -> Cluster:
            self.begin(tx)
            return cluster.get(tx)

        return self._server.tables.do(work)

    def note(self) -> None:
        def work(tx: Tx) -> None:
            self.begin(tx)
            self._history.note(tx)

        self._server.tables.do(work)

    def agrees(self) -> bool:
        return self._server.tables.do(self._history.agrees)

    def restored(self) -> None:
        """Have an operator go on with the database, and every host account for itself."""

        def work(tx: Tx) -> None:
            self.begin(tx)
            cluster.begin_era(tx, "operator", GAP)
            cluster.end_hold(tx)

        self._server.tables.do(work)
        self.note()


@pytest.fixture
def server(tables: Tables) -> Server:
    return Server(tables)


def test_a_cloud_that_begins_is_on_no_hold_however_it_is_replicated(server: Server) -> None:
    server.synchronous = False
    standing = server.controller().standing()
    assert (standing.hold, standing.timeline, standing.synchronous) == (None, ONE, False)


def test_a_failover_that_loses_nothing_is_gone_along_with(server: Server) -> None:
    controller = server.controller()
    controller.note()
    server.timeline = TWO
    assert controller.standing().hold is None
    assert server.controller().standing().hold is None
    server.timeline = THREE
    assert controller.standing().timeline == THREE
    assert controller.standing().hold is None


def test_who_saw_nothing_of_it_goes_by_what_the_database_was_told(server: Server) -> None:
    server.synchronous = False
    server.controller().note()
    server.timeline, server.synchronous = TWO, True
    assert "may have lost commits" in (server.controller().standing().hold or "")


def test_a_controller_remembers_what_a_standby_that_was_left_behind_was_never_told(server: Server) -> None:
    controller = server.controller()
    controller.note()
    told = server.tables.do(cluster.get)
    server.synchronous = False
    assert not controller.agrees()
    controller.note()
    assert controller.agrees()
    assert told.timeline is not None
    server.tables.do(lambda tx: cluster.note_history(tx, ONE, synchronous=True))  # as the standby has it
    server.timeline = TWO
    assert server.controller().standing().hold is None
    assert controller.standing().hold is not None


@pytest.mark.parametrize("now", [ONE, COPY], ids=["of_before", "copy"])
def test_a_former_server_and_a_copy_are_no_failover(server: Server, now: str) -> None:
    server.timeline = TWO
    controller = server.controller()
    controller.note()
    server.timeline = now
    assert controller.standing().hold is not None


def test_an_operators_word_ends_it_for_all_also_for_who_comes_late(server: Server) -> None:
    controller, cut_off = server.controller(), server.controller()
    server.synchronous = False
    controller.note()
    cut_off.note()
    server.timeline = TWO
    assert controller.standing().hold is not None
    controller.restored()
    assert cut_off.standing().hold is None
    assert server.controller().standing().hold is None
    server.timeline = THREE
    assert controller.standing().hold is not None


def test_nothing_is_known_of_what_was_not_committed(server: Server) -> None:
    server.synchronous = False
    controller = server.controller()
    controller.note()
    server.timeline = TWO

    def fails(tx: Tx) -> None:
        controller.begin(tx)
        raise Conflict("something else")

    with pytest.raises(Conflict):
        server.tables.do(fails)
    assert controller.standing().hold is not None
