"""Switches of simulated hosts are worked over their socket; the power switch reads them, or pid files."""

import asyncio
import os
from pathlib import Path

import pytest

from renova.lab import power_switch, processes, switches
from renova.lab.home import Home
from renova.model.errors import NotFound, NotNow, Refused


class Board:
    """One host, h1, whose switches do what they should."""

    def __init__(self) -> None:
        self.on, self.cable = True, True

    async def kill(self, host: str) -> None:
        self.on = not self.powered(host)

    async def start(self, host: str) -> None:
        self.on = not self.powered(host) or self.on

    async def cut(self, host: str) -> None:
        self.cable = not self.plugged(host)

    async def heal(self, host: str) -> None:
        self.cable = not self.plugged(host) or self.cable

    def powered(self, host: str) -> bool:
        self._known(host)
        return self.on

    def plugged(self, host: str) -> bool:
        self._known(host)
        return self.cable

    def _known(self, host: str) -> None:
        if host != "h1":
            raise NotFound(f"there is no host {host} here")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / ("long" * 40))
    home.make()
    return home


async def ask(home: Home, verb: str, host: str = "h1") -> str:
    return await asyncio.to_thread(switches.ask, home.simulated_socket, verb, host)


async def test_switches_are_worked_from_other_processes(home: Home) -> None:
    async with await switches.serve(home.simulated_socket, Board()):
        assert await ask(home, "power") == "on"
        await ask(home, "kill")
        assert await ask(home, "power") == "off"
        await ask(home, "start")
        assert await ask(home, "power") == "on"
        await ask(home, "cut")
        assert await ask(home, "cable") == "unplugged"
        await ask(home, "heal")
        assert await ask(home, "cable") == "plugged"


async def test_a_wrong_question_gets_a_reason(home: Home) -> None:
    async with await switches.serve(home.simulated_socket, Board()):
        with pytest.raises(Refused, match="no host h2"):
            await ask(home, "power", "h2")
        with pytest.raises(Refused, match="no verb 'explode'"):
            await ask(home, "explode")


def test_nobody_there_is_told(home: Home) -> None:
    with pytest.raises(NotNow, match="do not answer"):
        switches.ask(home.simulated_socket, "power", "h1")


async def test_the_power_switch_asks_the_simulated_hosts(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    us = processes.identify(os.getpid())
    assert us is not None
    processes.record(home.pid_file("simulated"), us)
    async with await switches.serve(home.simulated_socket, Board()):
        assert await asyncio.to_thread(power_switch.main, [str(home.path), "h1"]) == 0
        assert capsys.readouterr().out == "on\n"
        assert await asyncio.to_thread(power_switch.main, [str(home.path), "h2"]) == 1


def test_without_their_process_simulated_hosts_are_off(home: Home) -> None:
    processes.record(home.pid_file("simulated"), processes.Process(os.getpid(), started=-1))
    assert not power_switch.powered(home, "h1")


def test_the_power_switch_reads_the_power_of_real_hosts(home: Home) -> None:
    us = processes.identify(os.getpid())
    assert us is not None
    processes.record(home.pid_file("host-h1"), us)
    assert power_switch.powered(home, "h1")
    processes.record(home.pid_file("host-h1"), processes.Process(us.pid, started=-1))
    assert not power_switch.powered(home, "h1")


def test_what_is_not_known_is_not_called_off(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert power_switch.main([str(home.path), "h1"]) == 1
    assert capsys.readouterr() == ("", "nothing is known of a host h1\n")
