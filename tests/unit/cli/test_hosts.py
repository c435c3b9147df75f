"""What a client of Renova's own API makes of answers that are not Renova's, and of names that are none."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from renova.cli.hosts import HostsClient
from renova.model.errors import BadSetup, Refused

Ask = Callable[[HostsClient], Any]
EVERY: dict[str, Ask] = {
    "hosts": lambda client: client.hosts(),
    "host": lambda client: client.host("a"),
    "join_tokens": lambda client: client.join_tokens(),
    "duties": lambda client: client.duties(),
    "duty": lambda client: client.do_duty("a"),
    "vouch": lambda client: client.vouch("a"),
    "clean": lambda client: client.clean("a"),
    "drain": lambda client: client.drain("a"),
    "drained": lambda client: client.drained("a"),
    "trust_power": lambda client: client.trust_power("a"),
    "asides": lambda client: client.asides("a"),
    "power": lambda client: client.power("a"),
    "wire_power": lambda client: client.wire_power("a", {}),
    "read_power": lambda client: client.read_power("a"),
    "switch_power": lambda client: client.switch_power("a", "on"),
    "rehearse_power": lambda client: client.rehearse_power("a"),
    "reseal": lambda client: client.reseal(),
    "proofs": lambda client: client.proofs(),
    "status": lambda client: client.status(),
    "rehearsal": lambda client: client.rehearsal(["a"]),
    "survival": lambda client: client.survival(1, 1),
    "recoveries": lambda client: client.recoveries(state="up"),
    "recovery": lambda client: client.recovery("a"),
    "release_brake": lambda client: client.release_brake(),
    "begin_era": lambda client: client.begin_era(),
    "choose": lambda client: client.choose("a", "b"),
}


class Answer:
    """An answer of whoever listens at the address."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def json(self) -> Any:
        return json.loads(self.content)


class Session:
    """A session with them; keeps where it asked."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.asked: list[str] = []

    def request(self, url: str, method: str, **_options: Any) -> Answer:
        self.asked.append(url)
        return Answer(self._content)


class Connection:
    """As much of an openstacksdk connection as is used."""

    def __init__(self, content: bytes = b"") -> None:
        self.session = Session(content)
        self.config = self

    def get_auth_args(self) -> dict[str, str]:
        return {"auth_url": "http://cloud.example/identity"}


@pytest.mark.parametrize(
    "content", [b"<html>", b"", b"{}", b"[]", b"null", b'"x"', b'{"hosts": null, "host": [], "era']
)
@pytest.mark.parametrize("what", EVERY)
def test_who_is_no_renova_controller_is_said_to_be_none(what: str, content: bytes) -> None:
    with pytest.raises(BadSetup, match=r"http://cloud\.example/renova/v1 is no Renova controller"):
        EVERY[what](HostsClient(Connection(content)))


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    connection = Connection()
    for ask in (HostsClient.host, HostsClient.remove, HostsClient.vouch, HostsClient.asides, HostsClient.do_duty):
        with pytest.raises(Refused):
            ask(HostsClient(connection), name)
    assert connection.session.asked == []


def test_odd_names_are_quoted() -> None:
    connection = Connection()
    HostsClient(connection).remove("a/../b?\udcff ü")
    assert connection.session.asked == ["http://cloud.example/renova/v1/hosts/a%2F..%2Fb%3F%3F%20%C3%BC"]


def test_names_that_are_asked_about_are_asked_as_they_are() -> None:
    connection = Connection(b'{"rehearsal": {}}')
    HostsClient(connection).rehearsal(["a&host=b", "c d"])
    HostsClient(connection).rehearsal(zone="e/f")
    assert [asked.partition("/rehearsal")[2] for asked in connection.session.asked] == [
        "?host=a%26host%3Db&host=c+d",
        "?zone=e%2Ff",
    ]
