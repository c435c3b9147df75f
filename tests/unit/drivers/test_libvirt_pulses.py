"""Signs of life that guests show: which life they belong to, and which guest owes none."""

from functools import partial
from pathlib import Path

import libvirt
import pytest

from renova.drivers.guard.listed import Listed
from renova.drivers.hypervisor import WATCHDOG_FIRED
from renova.drivers.hypervisor.behind_gate import BehindGate
from renova.drivers.hypervisor.libvirt_connection import Sign
from renova.drivers.hypervisor.libvirt_pulses import Pulses, ask_agent
from renova.model.clock import SystemClock
from renova.model.guest import FoundGuest, PowerState, Reply
from renova.model.ids import ServerId

NOBODY_LISTENS = "test:///no/such/file.xml"
SERVER = ServerId("6f3c1d1e-0d2e-4a59-9d7c-000000000001")
RUNNING = FoundGuest(SERVER, 1, PowerState.RUNNING)


@pytest.fixture
def gate(tmp_path: Path) -> Listed:
    made = Listed(tmp_path / "gate")
    made.make()
    return made


@pytest.fixture
def pulses(gate: Listed) -> Pulses:
    return Pulses(NOBODY_LISTENS, SystemClock(), BehindGate(gate))


def test_a_guest_whose_watchdog_fired_hangs_while_it_runs_and_until_it_begins_anew(pulses: Pulses) -> None:
    pulses.shows(SERVER, Sign.WATCHDOG)
    assert pulses.seen(RUNNING).hung == WATCHDOG_FIRED
    for power in set(PowerState) - {PowerState.RUNNING}:
        assert pulses.seen(FoundGuest(SERVER, 1, power)).hung == "", power
    pulses.shows(SERVER, Sign.BEGINS_ANEW)
    assert pulses.seen(RUNNING).hung == ""


async def test_guests_whose_host_is_behind_a_closed_gate_are_not_asked(pulses: Pulses, gate: Listed) -> None:
    gate.freeze()
    assert (await pulses.take(SERVER)).reply is Reply.NOBODY  # else it would have failed: nobody listens there


async def test_each_life_has_a_number_of_its_own_also_after_libvirtd_was_away(pulses: Pulses, gate: Listed) -> None:
    gate.freeze()
    lives = [(await pulses.take(SERVER)).life]
    began_anew = partial(pulses.shows, SERVER, Sign.BEGINS_ANEW)
    for change in (began_anew, pulses.begin_anew, began_anew, pulses.begin_anew):
        change()
        lives.append((await pulses.take(SERVER)).life)
    assert lives == sorted(set(lives))


def test_what_fired_before_libvirtd_was_away_is_not_held_against_the_guest(pulses: Pulses) -> None:
    pulses.shows(SERVER, Sign.WATCHDOG)
    pulses.begin_anew()
    assert pulses.seen(RUNNING).hung == ""


def test_a_guest_that_is_not_there_or_has_no_agent_owes_no_answer() -> None:
    opened = libvirt.open("test:///default")
    try:
        (there,) = opened.listAllDomains()
        assert ask_agent(opened, ServerId(there.UUIDString())) is Reply.NOBODY
        assert ask_agent(opened, SERVER) is Reply.NOBODY
    finally:
        opened.close()
