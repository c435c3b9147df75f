"""The fixtures of a real PostgreSQL: each test has an empty database of its own."""

import psycopg
import pytest

from renova.lab.postgresql import PostgreSQL


@pytest.mark.parametrize("time", ["first", "second"])
def test_each_test_has_an_empty_database(postgresql_url: str, time: str) -> None:
    with psycopg.connect(postgresql_url) as connection:
        connection.execute("CREATE TABLE things (id int)")


def test_whoever_has_no_password_is_kept_out(postgresql_server: PostgreSQL) -> None:
    url = postgresql_server.url().replace(postgresql_server.password, "wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url)


def test_the_user_may_not_rule_the_server(postgresql_url: str) -> None:
    with psycopg.connect(postgresql_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("CREATE ROLE somebody")
