"""A request becomes an operation whole, once, and starts when that is certain."""

import asyncio
from functools import partial

import msgspec
import pytest

from renova.engine.journal import Held
from renova.engine.operation import Run, Story
from renova.model.clock import SystemClock
from renova.model.errors import Conflict, NotNow
from renova.model.ids import OperationId, ProjectId, UserId
from renova.operations.submission import Asked, Submission, drop_waiting, ended, submit, supersede
from renova.store import actions, operations, servers
from renova.store.database import Tx
from renova.store.everything import open_database
from tests.unit.store.tables import ONE, TWO, add_server

from .small_cloud import SmallCloud


class Want(msgspec.Struct, frozen=True):
    """Something."""

    text: str


async def nothing(run: Run, want: Want) -> None: ...


STORY = Story("some-story", 3, Want, nothing, lambda *_: None)
ASKED = Asked(UserId("user"), ProjectId("project"), "req-1")


@pytest.fixture(autouse=True)
def two_servers(small: SmallCloud) -> None:
    for server in (ONE, TWO):
        small.tables.do(partial(add_server, server=server))


def ask(tx: Tx, small: SmallCloud, text: str = "please", story: Story[Want] = STORY) -> Held:
    submit(tx, small.runs, ASKED, ONE, Submission(story, "reboot", Want(text)))
    return (*operations.queued(tx, ONE), operations.active(tx, ONE))[0] or pytest.fail("nothing was submitted")


def test_action_number_and_operation_are_written_down_and_then_it_starts(small: SmallCloud) -> None:
    held = small.tables.do(lambda tx: ask(tx, small))
    assert small.runs.started == [held]
    assert (held.server, held.number, held.story, held.version, held.epoch) == (ONE, 1, "some-story", 3, 1)
    assert msgspec.json.decode(held.want, type=Want) == Want("please")
    (action,) = small.tables.do(lambda tx: actions.of_server(tx, ONE))
    assert (action.id, action.action, action.request, action.user) == (held.action, "reboot", "req-1", "user")
    assert small.tables.do(lambda tx: operations.active(tx, ONE)) == held


def test_what_does_not_commit_does_not_start(small: SmallCloud) -> None:
    def work(tx: Tx) -> None:
        ask(tx, small)
        raise Conflict("it is locked")

    with pytest.raises(Conflict):
        small.tables.do(work)
    assert small.runs.started == []
    assert small.tables.do(lambda tx: actions.of_server(tx, ONE)) == []
    server = small.tables.do(lambda tx: servers.get(tx, ONE))
    assert server is not None
    assert server.last_number == 0


def test_a_second_operation_is_refused_while_one_is_active(small: SmallCloud) -> None:
    first = small.tables.do(lambda tx: ask(tx, small))
    with pytest.raises(Conflict, match="under way"):
        small.tables.do(lambda tx: ask(tx, small))
    assert small.runs.started == [first]


def test_superseding_ends_the_former_for_good_and_says_why(small: SmallCloud) -> None:
    first = small.tables.do(lambda tx: ask(tx, small))
    small.tables.do(lambda tx: actions.open_event(tx, first.action, "some_event", "host1"))

    def work(tx: Tx) -> Held:
        supersede(tx, small.runs, ONE, "superseded: it is deleted")
        return ask(tx, small, "again")

    second = small.tables.do(work)
    assert second.number == first.number + 1
    assert (small.runs.stopped, small.runs.started) == ([first.id], [first, second])
    (event,) = small.tables.do(lambda tx: actions.events_of(tx, first.action))
    assert (event.result, event.details) == ("Error", "superseded: it is deleted")
    rows = small.tables.do(lambda tx: tx.execute(operations.operations.select()).all())
    assert [(row.state, bool(row.want)) for row in rows] == [("superseded", False), ("active", True)]


QUIET = Story("quiet-story", 1, Want, nothing, lambda *_: None, quiet=True)


def test_a_quiet_operation_is_waited_for_and_not_superseded(small: SmallCloud) -> None:
    first = small.tables.do(lambda tx: ask(tx, small, story=QUIET))
    small.tables.do(lambda tx: supersede(tx, small.runs, ONE, "superseded by a hard reboot"))
    waits = small.tables.do(lambda tx: ask(tx, small))
    assert (small.runs.stopped, small.runs.started) == ([], [first])
    assert small.tables.do(lambda tx: operations.active(tx, ONE)) == first
    assert [held.id for held in small.tables.do(lambda tx: operations.queued(tx, ONE))] == [waits.id]


def test_what_cannot_wait_puts_a_quiet_operation_back_and_ends_the_others_that_wait(small: SmallCloud) -> None:
    quiet = small.tables.do(lambda tx: ask(tx, small, story=QUIET))
    waits = small.tables.do(lambda tx: ask(tx, small))
    small.tables.do(lambda tx: supersede(tx, small.runs, ONE, "superseded: evacuated", at_once=True))
    (event,) = small.tables.do(lambda tx: actions.events_of(tx, waits.action))
    assert (event.result, event.details) == ("Error", "superseded: evacuated"), "it never began, and says why it ended"
    assert event.finished_at
    assert small.runs.stopped == [quiet.id]
    assert small.tables.do(lambda tx: operations.active(tx, ONE)) is None
    assert [held.id for held in small.tables.do(lambda tx: operations.queued(tx, ONE))] == [quiet.id]


def test_what_waits_for_a_server_that_is_deleted_ends_with_it(small: SmallCloud) -> None:
    small.tables.do(lambda tx: ask(tx, small, story=QUIET))
    waits = small.tables.do(lambda tx: ask(tx, small, story=QUIET))
    small.tables.do(lambda tx: actions.open_event(tx, waits.action, "some_event", None))
    small.tables.do(lambda tx: drop_waiting(tx, ONE, "the server was deleted"))
    assert small.tables.do(lambda tx: operations.queued(tx, ONE)) == []
    (event,) = small.tables.do(lambda tx: actions.events_of(tx, waits.action))
    assert (event.result, event.details) == ("Error", "the server was deleted")


def test_there_may_be_nothing_to_supersede(small: SmallCloud) -> None:
    small.tables.do(lambda tx: supersede(tx, small.runs, ONE, "x"))
    assert small.runs.stopped == []


def test_events_are_opened_once_and_closed_together(small: SmallCloud) -> None:
    """A step that runs again goes on with the event it had opened."""
    held = small.tables.do(lambda tx: ask(tx, small))
    for event in ("first", "first", "second"):
        small.tables.do(partial(actions.open_event, action=held.action, event=event, host_name=None))
    small.tables.do(lambda tx: actions.close_events(tx, held.action, event="first"))
    small.tables.do(lambda tx: actions.close_events(tx, held.action, error="no", traceback="Traceback ..."))
    events = small.tables.do(lambda tx: actions.events_of(tx, held.action))
    assert [(event.event, event.result, event.traceback) for event in events] == [
        ("second", "Error", "Traceback ..."),
        ("first", "Success", None),
    ]
    (action,) = small.tables.do(lambda tx: actions.of_server(tx, ONE))
    assert action.message == "Error"


def test_who_waits_for_an_operation_that_the_database_lost_is_told_to_look() -> None:
    database = open_database(None, SystemClock())
    with pytest.raises(NotNow, match="lost its last commits"):
        asyncio.run(ended(database, SystemClock(), OperationId(7)))
    database.close()
