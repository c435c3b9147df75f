"""Those who look on during a campaign: one counts the runs of each server, one asks the API all the time."""

import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import msgspec

from renova.lab.chaos.client import Away, Client

_LOOK_S = 0.2
_PROBE_S = 0.08
_UUID = re.compile(rb"\0-uuid\0([0-9a-f-]{36})\0")


class DoubleRun(msgspec.Struct, frozen=True):
    """A server whose guest ran on more than one host at once."""

    server: str
    hosts: list[str]
    after_s: float  # since the campaign began


def running_guests(hosts: dict[int, str]) -> dict[str, dict[int, str]]:
    """Return QEMU processes of each server on the lab's hosts, by pid; `hosts` names those by their pid namespaces."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            server = _UUID.search(command)
            if server is None or b"qemu" not in command.split(b"\0", 1)[0]:
                continue
            host = hosts.get((entry / "ns" / "pid").stat().st_ino)
        except OSError:
            continue  # it ended meanwhile
        if host is not None:
            found[server[1].decode()][int(entry.name)] = host
    return found


def namespaces(pids: dict[str, int]) -> dict[int, str]:
    """Return names of hosts by the numbers of their pid namespaces, given their first processes."""
    found = {}
    for name, pid in pids.items():
        try:
            found[Path(f"/proc/{pid}/ns/pid").stat().st_ino] = name
        except OSError:
            continue
    return found


class Watch:
    """Something that is done again and again in a thread of its own, until `stop`."""

    pause_s = 1.0

    def __init__(self, name: str) -> None:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.began = time.monotonic()
        self._failure: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End; raises what kept it from looking on, if anything did."""
        self._ending.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def look(self) -> None:
        raise NotImplementedError

    def _run(self) -> None:
        while not self._ending.wait(self.pause_s):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001  raised again by `stop`
                self._failure = error
                return


class Runs(Watch):
    """Counts how often each server runs, by looking at the processes of all hosts."""

    pause_s = _LOOK_S

    def __init__(self, first_pids: Callable[[], dict[str, int]]) -> None:
        super().__init__("runs")
        self._first_pids = first_pids
        self.looks = 0
        self.most = 0  # guests that ran at the same time
        self.doubles: list[DoubleRun] = []
        self._seen: set[tuple[str, tuple[int, ...]]] = set()

    def look(self) -> None:
        found = running_guests(namespaces(self._first_pids()))
        self.looks += 1
        self.most = max(self.most, len(found))
        for server, places in found.items():
            key = (server, tuple(sorted(places)))
            if len(places) > 1 and key not in self._seen:
                self._seen.add(key)
                after = round(time.monotonic() - self.began, 1)
                self.doubles.append(DoubleRun(server, sorted(places.values()), after))


@dataclass
class Probes(Watch):
    """Asks the API something cheap all the time, and knows when it was not answered."""

    client: Client
    answered: list[float] = field(default_factory=list)  # times of answers, of the monotonic clock
    asked: int = 0
    refused: int = 0

    pause_s = _PROBE_S

    def __post_init__(self) -> None:
        super().__init__("probes")

    def look(self) -> None:
        self.asked += 1
        try:
            answer = self.client.compute("GET", "/flavors?limit=1")
        except Away:
            self.refused += 1
            return
        if answer.accepted:
            self.answered.append(time.monotonic())
        else:
            self.refused += 1

    def longest(self, begin: float, end: float) -> float:
        """Return the longest time without an answer between two moments, in seconds."""
        return max(later - earlier for earlier, later in self.silences(begin, end))

    def silences(self, begin: float, end: float) -> list[tuple[float, float]]:
        """Return the times between answers, from one moment to another."""
        return [*pairwise([begin, *(each for each in self.answered if begin <= each <= end), end])]
