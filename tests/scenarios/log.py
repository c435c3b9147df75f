"""The log of a scenario: when which state changed, of hosts, their deaths, servers, guests and recoveries.

What is committed is written down as it is. What only is so (standings, power, gates, guests) is looked at soon after
each commit, and ten times a second: what lasts for less than that is nothing that anybody sees.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from renova.ha.sightings import standing_of
from renova.model.host import Host, ProofKind
from renova.model.ids import ServerId
from renova.simulation.history import History
from renova.simulation.ledger import Change, Row
from renova.simulation.loop import BEGINNING
from renova.simulation.world import World
from renova.store import hosts

LOOK_S, SOON_S = 0.1, 0.01
PROVEN = {ProofKind.NEW_BOOT: "what ran before has ended", ProofKind.STORAGE_CUT: "cut off"}
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?")


class Log:
    """Lines, each with the seconds since the beginning, whom it concerns, and what became so."""

    def __init__(self, world: World, names: History, servers: Mapping[ServerId, str]) -> None:
        self._world = world
        self._names = names
        self._servers = servers  # whose guests are looked for
        self._began = world.clock.monotonic()
        self._lines: list[str] = []
        self._was: dict[tuple[str, str], str] = {}  # what only is so, by whom and what it concerns
        self._rows: dict[str, Host] = {}
        self._stale = asyncio.Event()  # the rows of hosts may be others by now
        self._stale.set()

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines)

    def note(self, who: str, what: str) -> None:
        seconds = self._world.clock.monotonic() - self._began
        text = _STAMP.sub(self._seconds, self._names.with_names(what))
        self._lines.append(f"{seconds:7.1f}  {who:<12} {text}")

    def _seconds(self, stamp: re.Match[str]) -> str:
        """Return a time as the seconds of this log: all clocks here go right."""
        return (
            f"{(datetime.fromisoformat(stamp[0]).replace(tzinfo=UTC) - BEGINNING).total_seconds() - self._began:.1f} s"
        )

    def committed(self, changes: Sequence[Change]) -> None:
        """Write down what was committed just now."""
        self._stale.set()
        proven = any(change.table == "proofs" for change in changes)  # which says what epoch it produced
        for change in changes:
            if change.new is not None and not (proven and change.table == "leases"):
                for what in _told(change.table, change.old or {}, change.new):
                    self.note(self._names.name(_subject(change.table, change.new)), what)

    async def look(self) -> None:
        """Write down what is so now and was not, and remember it."""
        if self._stale.is_set():
            self._stale.clear()
            self._rows = {row.name: row for row in await self._world.database.read(hosts.every)}
        for who, kind, what in self._seen():
            if self._was.get((who, kind), "") != what:
                self._was[who, kind] = what
                self.note(who, what)

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            now = self._world.clock.monotonic()
            # At the same tenths of a second whatever was committed between; and never twice at one.
            tenth = int((now - self._began) / LOOK_S + 0.001) + 1
            with suppress(TimeoutError):
                async with asyncio.timeout(self._began + tenth * LOOK_S - now):
                    await self._stale.wait()
                    await asyncio.sleep(SOON_S)
            await self.look()

    async def begin(self) -> None:
        """Take all that is so now for known, and count seconds from now on."""
        await self.look()
        self._lines.clear()
        self._began = self._world.clock.monotonic()

    def _seen(self) -> Iterator[tuple[str, str, str]]:
        running = [one for one in self._world.controllers.values() if one.process is not None and one.process.runs]
        for any_host in self._world.every_host():
            name = any_host.name
            yield name, "power", "has power" if any_host.powered else "has no power"
            if running and name in self._rows:
                yield name, "standing", str(standing_of(running[0].cloud, self._rows[name]))
        for name, host in self._world.hosts.items():
            if host.gate is not None and host.powered:
                yield name, "gate", "gate closed" if host.hypervisor.frozen else "gate open"
            runs, there = host.hypervisor.executing(), host.hypervisor.active()
            held = host.hypervisor.frozen or self._world.clock_of(name).stands_still
            for server, called in self._servers.items():
                kind = f"guest on {name}"
                if server in there or (called, kind) in self._was:
                    waits = "stands still" if held else "waits"  # as one that is being started does
                    how = "runs" if server in runs else waits if server in there else "runs no more"
                    yield called, kind, f"guest {how} on {name}"


def _subject(table: str, row: Row) -> str:
    match table:
        case "servers" | "hosts":
            return str(row["id"])
        case "recoveries":
            return str(row["server"])
        case "cluster":
            return "cluster"
    return str(row.get("host", ""))


def _told(table: str, old: Row, new: Row) -> Iterator[str]:
    """Give what a change says to people."""
    changed = {name for name in new if new[name] != old.get(name)}
    match table:
        case "proofs" if not old:
            proven = PROVEN.get(new["kind"], "proven dead")
            yield f"{proven}: {new['kind']} by {new['who']}, epoch {new['epoch']} ({_readings(new['readings'])})"
        case "proofs" if "withdrawn" in changed:
            yield f"proof {new['kind']} of epoch {new['epoch']} withdrawn: {new['withdrawn']}"
        case "leases" if old and "epoch" in changed:
            yield f"lease epoch {new['epoch']}"
        case "hosts" if "power_barred" in changed and new["power_barred"]:
            yield f"power not believed: {new['power_barred']}"
        case "hosts" if "forced_down" in changed and old:
            yield "forced down" if new["forced_down"] else "not forced down any more"
        case "cluster" if {"brake", "hold"} & changed:
            yield f"brake: {new['brake'] or 'off'}" if "brake" in changed else f"hold: {new['hold'] or 'ended'}"
        # A task goes through several states; it is told when it begins, and when it has ended.
        case "servers" if {"host", "vm_state"} & changed or bool(old.get("task_state")) != bool(new["task_state"]):
            yield f"{new['vm_state']}{_also(', ', new['task_state'])}{_also(' on ', new['host'])}"
        case "recoveries" if {"state", "reason"} & changed:
            where = _also(" on ", new["reached"]) if new["state"] == "up" else _also(" for ", new["target"])
            yield f"recovery {new['state']}{where}{_also(': ', new['reason'])}"


def _also(before: str, text: str | None) -> str:
    return f"{before}{text}" if text else ""


def _readings(text: str) -> str:
    """Return what a certificate rests on; of times only how long, and no numbers that count what went before."""
    readings: dict[str, str] = msgspec.json.decode(text)
    said = {name: value for name, value in readings.items() if name not in ("counter", "system", "heartbeat")}
    return ", ".join(f"{name} {value}" for name, value in said.items() if not name.endswith("_at"))
