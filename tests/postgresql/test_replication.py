"""A real PostgreSQL with a synchronous standby, killed, frozen and failed over: what was acknowledged stays."""

import threading

import psycopg
import pytest

from renova.lab.processes import wait_until
from renova.lab.replication import Pair
from renova.model.errors import NotNow

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def notes(pair: Pair) -> None:
    with psycopg.connect(pair.url()) as connection:
        connection.execute("CREATE TABLE notes (number bigint PRIMARY KEY)")


def note(pair: Pair, number: int) -> None:
    with psycopg.connect(pair.url(), connect_timeout=10) as connection:
        connection.execute("INSERT INTO notes VALUES (%s)", (number,))


def noted(pair: Pair) -> set[int]:
    with psycopg.connect(pair.url(), connect_timeout=10) as connection:
        return {row[0] for row in connection.execute("SELECT number FROM notes")}


def test_a_killed_server_comes_back_with_what_was_committed(pair: Pair) -> None:
    note(pair, 1)
    pair.primary.kill()
    with pytest.raises(psycopg.OperationalError):
        note(pair, 2)
    pair.up()
    note(pair, 3)
    assert {1, 3} <= noted(pair)


def test_a_frozen_server_answers_nobody_until_it_is_thawed(pair: Pair) -> None:
    with psycopg.connect(pair.url(), autocommit=True) as connection:
        pair.primary.freeze()
        try:
            assert not pair.primary.answers()
        finally:
            pair.primary.thaw()
        connection.execute("INSERT INTO notes VALUES (10)")
    assert 10 in noted(pair)


def test_nothing_commits_while_the_standby_is_away(pair: Pair) -> None:
    """Also after the primary began anew: it does not forget that it has a standby."""
    pair.standby.kill()
    pair.primary.kill()
    pair.primary.start()
    writer = threading.Thread(target=note, args=(pair, 20))
    writer.start()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    wait_until(lambda: pair.primary.ask(waiting) == "1", 20, "nothing waits for the standby")
    assert 20 not in noted(pair)
    pair.up()
    writer.join(30)
    assert 20 in noted(pair)


def test_what_was_acknowledged_outlives_the_primary(pair: Pair) -> None:
    numbers = range(100, 200)
    with psycopg.connect(pair.url(), autocommit=True) as connection:
        for number in numbers:
            connection.execute("INSERT INTO notes VALUES (%s)", (number,))
        old = pair.primary
        pair.fail_over()
        assert pair.primary != old
        with pytest.raises(psycopg.OperationalError):
            connection.execute("INSERT INTO notes VALUES (200)")
    # By the same address as before.
    assert set(numbers) <= noted(pair)
    note(pair, 201)
    # The old one may be started by whoever knows no better: it takes nothing.
    old.start()
    with (
        psycopg.connect(old.url(), autocommit=True) as connection,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        connection.execute("INSERT INTO notes VALUES (202)")
    with pytest.raises(NotNow, match="no standby"):
        pair.fail_over()
    pair.rejoin()
    note(pair, 203)
    # And back.
    pair.fail_over()
    pair.rejoin()
    assert pair.primary == old
    assert {*numbers, 201, 203} <= noted(pair)


def test_a_fail_over_to_a_standby_that_does_not_answer_is_refused_and_changes_nothing(pair: Pair) -> None:
    old, new = pair.primary, pair.standby
    new.freeze()
    try:
        with pytest.raises(NotNow, match="no standby"):
            pair.fail_over()
    finally:
        new.thaw()
    assert pair.primary == old
    note(pair, 300)
    assert 300 in noted(pair)


def test_the_password_is_in_no_log(pair: Pair) -> None:
    password = pair.primary.password
    logs = "".join(log.read_text() for log in pair.logs.iterdir())
    assert "database system is ready" in logs
    assert password not in logs
