"""The database of two controllers is away, or fails over: requests wait, and nothing that was accepted is lost."""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import pytest

from renova.lab.chaos.client import Away, Client
from renova.lab.postgresql import DATABASE
from renova.lab.processes import wait_until
from tests.postgresql.two_controllers import LIMIT_S, PUBLIC_KEY, Cloud, needs_their_parts

pytestmark = [pytest.mark.slow, needs_their_parts]


def test_while_the_database_is_away_requests_are_told_when_to_come_again(cloud: Cloud) -> None:
    database = cloud.lab.control.database

    def told(client: Client, method: str, path: str, body: Any = None) -> None:
        with pytest.raises(Away) as away:
            client.compute(method, path, body)
        answer = away.value.answer
        assert answer is not None
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE, answer.text
        assert int(answer.headers["Retry-After"]) > 0

    key = {"keypair": {"name": "never", "public_key": PUBLIC_KEY}}
    asking: list[Callable[[], None]] = []
    for url in (cloud.lab.plan.api_url, *(each.url for each in cloud.controllers)):
        client = cloud.client_of(url)
        assert client.compute("GET", "/servers").accepted  # has a token from then on
        asking.append(partial(told, client, "GET", "/servers"))
        asking.append(partial(told, client, "POST", "/os-keypairs", key))
    primary = database.primary
    for hurt in (primary.kill, primary.freeze):
        hurt()
        try:
            for ask in asking:
                ask()
        finally:
            primary.thaw()
            database.up()
        cloud.back()
        # A commit may have been on its way to the frozen server: then it is whole.
        cloud.client.compute("DELETE", "/os-keypairs/never")
        cloud.active(cloud.create("afterwards"))


def test_servers_that_were_accepted_before_a_fail_over_are_there_after_it(cloud: Cloud) -> None:
    servers = [cloud.create(f"failing-over-{number}") for number in range(3)]
    database = cloud.lab.control.database
    database.fail_over()
    try:
        cloud.back()
        for server in servers:
            cloud.active(server)
        cloud.active(cloud.create("on-the-new-primary"))
    finally:
        database.up()
    # It lost nothing, and the next one will not: the controllers see to it that this is known.
    question = "SELECT hold IS NULL AND synchronous FROM cluster"
    wait_until(
        lambda: database.primary.ask(question, DATABASE) == "t", LIMIT_S, "no controller has noted that", pause=0.1
    )
