"""The parts of a chaos campaign that hurt nobody: who is struck when, and how the looks are reckoned."""

import threading
from collections.abc import Callable
from random import Random
from typing import cast

import pytest
from msgspec.structs import replace

from renova.lab.chaos.campaign import _kills
from renova.lab.chaos.client import Client
from renova.lab.chaos.faults import Card, Fault, Faults, Struck
from renova.lab.chaos.invariants import volumes_of_domain
from renova.lab.chaos.rows import volumes_left, work_left
from renova.lab.chaos.watch import Probes
from renova.lab.processes import wait_until
from renova.model.errors import NotNow
from renova.model.ids import AttachmentId
from renova.store import block_devices, volume_attachments
from renova.store.database import Tx
from renova.store.volume_attachments import StoredAttachment
from tests.operations.story import Told, told_story
from tests.operations.volumes import attached, rows


class Machine:
    """Parts that are well or not; refuses to be struck twice."""

    def __init__(self) -> None:
        self.ill: set[str] = set()
        self.at_once = 0
        self.wrong: list[str] = []
        self.refusals = 2  # repairs that fail at first
        self._lock = threading.Lock()

    def begin(self, part: str) -> None:
        with self._lock:
            if part in self.ill:
                self.wrong.append(f"{part} was struck twice")
            self.ill.add(part)
            self.at_once = max(self.at_once, len(self.ill))

    def end(self, part: str) -> None:
        with self._lock:
            if self.refusals:
                self.refusals -= 1
                raise NotNow("something else is away, too")
            self.ill.discard(part)

    def kind(self, *parts: str) -> Callable[[Random], Fault]:
        def make(chance: Random) -> Fault:
            part = chance.choice(parts)
            return Fault((part,), (0.001, 0.02), lambda: self.begin(part), lambda: self.end(part))

        return make


def dealt(pack: dict[str, Card], until: Callable[[Faults], bool]) -> Faults:
    faults = Faults(pack, 1, lambda _text: None, between=(0.0, 0.002), retry=0.001)
    faults.start()
    wait_until(lambda: until(faults), 20, "not enough faults fired")
    faults.stop()
    return faults


def pack(machine: Machine) -> dict[str, Card]:
    return {"one": (2, machine.kind("a", "b")), "two": (1, machine.kind("b", "c"))}


def test_every_kind_has_its_turn_no_part_is_struck_twice_and_all_is_repaired() -> None:
    machine = Machine()
    faults = dealt(pack(machine), lambda faults: min(faults.fired.values()) >= 5)
    assert not machine.wrong
    assert not machine.ill
    assert not faults.unrepaired
    assert machine.at_once > 1


def test_what_did_not_strike_does_not_count() -> None:
    def never() -> None:
        raise NotNow("there is nothing to strike")

    card: Card = (1, lambda _chance: Fault(("d",), (0.0, 0.0), never, lambda: None))
    faults = dealt(pack(Machine()) | {"never": card}, lambda faults: faults.fired["one"] >= 10)
    assert faults.fired["never"] == 0


def test_the_longest_time_without_an_answer_is_told() -> None:
    probes = Probes(cast(Client, None))
    probes.answered = [1.0, 1.1, 4.0, 4.1]
    assert probes.longest(0.5, 4.5) == pytest.approx(2.9)
    assert probes.longest(4.0, 7.0) == pytest.approx(2.9)
    assert probes.longest(1.0, 1.1) == pytest.approx(0.1)


def test_a_kill_counts_for_the_take_over_only_if_nothing_else_was_wrong() -> None:
    def struck(kind: str, part: str, began: float, ended: float) -> Struck:
        return Struck(kind, (part,), began, ended)

    alone = struck("controller killed", "controller1", 100.0, 103.0)
    in_trouble = struck("controller killed", "controller2", 200.0, 203.0)
    trouble = struck("database killed", "database", 198.0, 201.0)
    elsewhere = struck("agent killed", "host1", 99.0, 104.0)
    assert _kills([alone, in_trouble, trouble, elsewhere]) == [100.0]


def test_a_volume_that_is_not_attached_exactly_once_is_told_by_the_database_itself() -> None:
    async def story(told: Told) -> None:
        def left(tx: Tx) -> list[str]:
            return [*work_left(tx), *volumes_left(tx)]

        server = await told.created()
        volume = await attached(told, server)
        assert await told.cloud.database.read(left) == []
        [device] = await rows(told, server)

        def twice(tx: Tx) -> list[str]:
            volume_attachments.add(tx, again(tx))
            found = left(tx)
            volume_attachments.remove(tx, AttachmentId("again"))
            return found

        def again(tx: Tx) -> StoredAttachment:
            [row] = volume_attachments.of_volume(tx, volume)
            return replace(row, id=AttachmentId("again"), export=None)

        [said] = await told.cloud.database.transact(twice)
        assert f"volume {volume} has the attachments" in said
        values = {"next_attachment": AttachmentId("next")}
        await told.cloud.database.transact(lambda tx: block_devices.change(tx, device, **values))
        [said] = await told.cloud.database.read(left)
        assert "was never finished" in said
        await told.cloud.database.transact(lambda tx: block_devices.change(tx, device, next_attachment=None))

    told_story(story)


def test_the_volumes_of_a_domain_are_told_by_their_serials() -> None:
    xml = """<domain><devices>
      <disk type="file"><source file="/disk"/><serial>root</serial></disk>
      <disk type="network"><source protocol="nbd" name="secret"/><serial>volume</serial></disk>
    </devices></domain>"""
    assert volumes_of_domain(xml) == {"volume"}
