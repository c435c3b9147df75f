"""Users of a campaign: each has a few servers and asks for one thing after the other; an operator evacuates.

What the cloud accepted is written into the `Book`, by which it is judged in the end.
"""

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random
from typing import Any

from renova.lab import furniture
from renova.lab.chaos.client import Answer, Away, Client

SERVERS_EACH = 2
_PAUSE_S = (0.2, 3.0)
_LOOK_S = 1.0
_SETTLE_S = 240.0
_OPERATOR_S = 2.0
_PLUGS = 0.6  # how often a server without a volume is given one before anything else


@dataclass(frozen=True)
class Request:
    """Something that the cloud accepted."""

    kind: str
    server: str
    request: str


@dataclass
class Book:
    """What was asked for, and what became of it. Shared by all users."""

    accepted: list[Request] = field(default_factory=list)
    servers: dict[str, str] = field(default_factory=dict)  # of every server that was accepted: its name
    names: set[str] = field(default_factory=set)  # of servers that were asked for
    deleting: set[str] = field(default_factory=set)  # servers whose deletion was asked for
    refused: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unanswered: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def accept(self, kind: str, server: str, answer: Answer) -> None:
        with self._lock:
            self.accepted.append(Request(kind, server, answer.request))

    def know(self, server: str, name: str) -> None:
        with self._lock:
            self.servers[server] = name

    def expect(self, name: str) -> None:
        with self._lock:
            self.names.add(name)

    def expect_gone(self, server: str) -> None:
        with self._lock:
            self.deleting.add(server)

    def refuse(self, kind: str, answer: Answer) -> None:
        with self._lock:
            self.refused[kind][f"{answer.status} {answer.reason}"] += 1
            if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                self.wrong.append(f"{kind}: the API answered {answer.status} {answer.reason}")

    def not_answered(self, kind: str) -> None:
        with self._lock:
            self.unanswered[kind] += 1

    def note_wrong(self, what: str) -> None:
        with self._lock:
            self.wrong.append(what)


@dataclass(frozen=True)
class Supplies:
    """What servers are made of, by id."""

    flavor: str
    images: tuple[str, ...]
    network: str


def supplies(client: Client) -> Supplies:
    """Find what the lab furnished."""
    flavors = client.compute("GET", "/flavors").body["flavors"]
    images = client.ask("GET", "/image/v2/images").body["images"]
    networks = client.ask("GET", "/network/v2.0/networks").body["networks"]
    return Supplies(
        flavor=next(each["id"] for each in flavors if each["name"] == "m1.tiny"),
        images=tuple(next(each["id"] for each in images if each["name"] == name) for name in furniture.IMAGES),
        network=next(each["id"] for each in networks if each["name"] == furniture.NETWORK),
    )


class _Person(threading.Thread):
    """Somebody who asks for things until told to stop."""

    def __init__(self, name: str, client: Client, book: Book, ending: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._client = client
        self._book = book
        self._ending = ending

    def run(self) -> None:
        while not self._ending.wait(self.pause()):
            try:
                self.turn()
            except Away:
                continue
            except Exception as error:  # noqa: BLE001  told in the report
                self._book.note_wrong(f"{self.name} could not go on: {error!r}")
                return

    def pause(self) -> float:
        """Return seconds until the next turn."""
        raise NotImplementedError

    def turn(self) -> None:
        """Look what there is to ask for, and ask."""
        raise NotImplementedError

    def _ask(self, kind: str, server: str, path: str, body: Any, method: str = "POST") -> bool:
        """Ask for something that is to be done to a server; say whether it was accepted."""
        try:
            answer = self._client.compute(method, path, body)
        except Away:
            self._book.not_answered(kind)
            return False
        if answer.accepted:
            self._book.accept(kind, server, answer)
        elif answer.status != HTTPStatus.NOT_FOUND or server not in self._book.deleting:
            self._book.refuse(kind, answer)
        return answer.accepted


class User(_Person):
    """Somebody with servers."""

    def __init__(
        self, number: int, client: Client, book: Book, ending: threading.Event, supplies: Supplies, seed: int
    ) -> None:
        super().__init__(f"user{number}", client, book, ending)
        self._supplies = supplies
        self._chance = Random(f"{seed} {number}")  # noqa: S311  (no secret)
        self._mine: list[str] = []
        self._made = 0

    def pause(self) -> float:
        return self._chance.uniform(*_PAUSE_S)

    def turn(self) -> None:
        if len(self._mine) < SERVERS_EACH and (not self._mine or self._chance.random() < 0.5):
            self._create()
            return
        server = self._chance.choice(self._mine)
        found = self._settled(server)
        if found is None:
            return
        attached = {each["id"] for each in found["os-extended-volumes:volumes_attached"]}
        kind = self._chance.choice(_WISHES.get(found["status"], ["delete"]))
        if not attached and found["status"] != "ERROR" and self._chance.random() < _PLUGS:
            kind = "volume"  # so that most servers have one, whatever is done to them next
        if kind == "delete":
            self._remove(server)
        elif kind == "volume":
            self._plug(server, attached)
        elif self._ask(kind, server, f"/servers/{server}/action", self._action(kind)):
            self._settled(server)

    def _action(self, kind: str) -> dict[str, Any]:
        match kind:
            case "soft reboot" | "hard reboot":
                return {"reboot": {"type": kind.partition(" ")[0].upper()}}
            case "rebuild":
                return {"rebuild": {"imageRef": self._chance.choice(self._supplies.images)}}
        return {f"os-{kind}": None}

    def _plug(self, server: str, attached: set[str]) -> None:
        """Have a volume plugged in; or out, if one is in."""
        path = f"/servers/{server}/os-volume_attachments"
        if attached:
            self._ask("detach", server, f"{path}/{min(attached)}", None, "DELETE")
        elif volume := self._free_volume():
            self._ask("attach", server, path, {"volumeAttachment": {"volumeId": volume}})

    def _free_volume(self) -> str | None:
        """Return one that no server has; None while there is none. There is one for each server."""
        mine = self._client.ask("GET", f"/volume/v3/volumes/detail?name={self.name}").body["volumes"]
        for volume in mine:
            if volume["status"] == "available":
                return str(volume["id"])
        if len(mine) < SERVERS_EACH:
            answer = self._client.ask("POST", "/volume/v3/volumes", {"volume": {"size": 1, "name": self.name}})
            if not answer.accepted:
                self._book.refuse("volume", answer)
        return None

    def _create(self) -> None:
        self._made += 1
        name = f"chaos-{self.name}-{self._made}"
        # Before it is asked for: it may be made although nobody says so.
        self._book.expect(name)
        body = {
            "server": {
                "name": name,
                "flavorRef": self._supplies.flavor,
                "imageRef": self._supplies.images[0],
                "networks": [{"uuid": self._supplies.network}],
            }
        }
        try:
            answer = self._client.compute("POST", "/servers", body)
        except Away:
            self._book.not_answered("create")
            self._adopt(name)
            return
        if not answer.accepted:
            self._book.refuse("create", answer)
            return
        server = answer.body["server"]["id"]
        self._book.know(server, name)
        self._book.accept("create", server, answer)
        self._mine.append(server)
        self._settled(server)

    def _adopt(self, name: str) -> None:
        """Find the server that may have been made though nobody said so."""
        while not self._ending.wait(_LOOK_S):
            try:
                found = self._client.compute("GET", f"/servers?name=^{name}$").body["servers"]
            except Away:
                continue
            for each in found:
                self._book.know(each["id"], name)
                self._mine.append(each["id"])
            return

    def _remove(self, server: str) -> None:
        # Before it is asked for: it may be gone although nobody says so.
        self._book.expect_gone(server)
        if self._ask("delete", server, f"/servers/{server}", None, "DELETE"):
            self._settled(server)

    def _settled(self, server: str) -> dict[str, Any] | None:
        """Return the server when nothing is being done to it any more; None when it is gone, or it took too long."""
        deadline = time.monotonic() + _SETTLE_S
        while time.monotonic() < deadline and not self._ending.is_set():
            try:
                answer = self._client.compute("GET", f"/servers/{server}")
            except Away:
                self._ending.wait(_LOOK_S)
                continue
            if answer.status == HTTPStatus.NOT_FOUND:
                self._mine.remove(server)
                if server not in self._book.deleting:
                    self._book.note_wrong(f"server {server} is gone, and nobody asked for that")
                return None
            if not answer.accepted:
                self._book.refuse("show", answer)
                return None
            found: dict[str, Any] = answer.body["server"]
            if found["OS-EXT-STS:task_state"] is None and found["status"] not in ("BUILD", "DELETED"):
                return found
            self._ending.wait(_LOOK_S)
        return None


_WISHES = {
    "ACTIVE": ["soft reboot", "hard reboot", "hard reboot", "rebuild", "stop", "delete", "volume"],
    "SHUTOFF": ["start", "start", "rebuild", "hard reboot", "volume"],
    "ERROR": ["hard reboot", "rebuild", "delete"],
}


class Operator(_Person):
    """Somebody who evacuates the servers of hosts that are down."""

    def __init__(self, client: Client, book: Book, ending: threading.Event) -> None:
        super().__init__("operator", client, book, ending)

    def pause(self) -> float:
        return _OPERATOR_S

    def turn(self) -> None:
        for host in self._down():
            self._evacuate(host)

    def _down(self) -> list[str]:
        found = self._client.compute("GET", "/os-services?binary=nova-compute").body["services"]
        return [service["host"] for service in found if service["state"] == "down"]

    def _evacuate(self, host: str) -> None:
        servers = self._client.compute("GET", f"/servers/detail?all_tenants=1&host={host}").body["servers"]
        for server in servers:
            if server["OS-EXT-STS:task_state"] is None:
                self._ask("evacuate", server["id"], f"/servers/{server['id']}/action", {"evacuate": {}})
