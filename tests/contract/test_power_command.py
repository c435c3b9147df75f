"""Power by a command: only a clear answer is an answer, and nothing that goes wrong is an error or an OFF."""

import asyncio
import stat
from contextlib import suppress
from pathlib import Path

import pytest
import structlog

from renova.model.errors import BadSetup, Refused
from renova.model.ids import HostId
from renova.model.power import Reading
from renova.power import NoPower, Power
from renova.power.command import CommandPower

HOST = HostId("11111111-1111-4111-8111-111111111111")


def script(directory: Path, body: str) -> str:
    """Return the path of a program with this body."""
    path = directory / "power"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


async def read(power: Power, name: str = "host1") -> Reading:
    with structlog.testing.capture_logs():
        found = await power.of(HOST, name)
        assert found is not None
        return (await found.read()).reading


@pytest.mark.parametrize(
    ("body", "reading"),
    [
        ("echo on", Reading.ON),
        ("echo off", Reading.OFF),
        ("echo ' OFF '", Reading.OFF),
        ("printf on", Reading.ON),
        ("", Reading.UNKNOWN),
        ("echo powering off", Reading.UNKNOWN),
        ("echo off; echo on", Reading.UNKNOWN),
        ("echo unknown", Reading.UNKNOWN),
        ("echo off; exit 1", Reading.UNKNOWN),
        ("echo off; kill -9 $$", Reading.UNKNOWN),
        ("echo off >&2", Reading.UNKNOWN),
        ("printf '\\377\\376off'", Reading.UNKNOWN),
        ("head -c 1000000 /dev/zero", Reading.UNKNOWN),
    ],
)
async def test_a_command_is_believed_only_when_it_is_clear(tmp_path: Path, body: str, reading: Reading) -> None:
    assert await read(CommandPower(script(tmp_path, body))) is reading


async def test_a_command_is_told_the_hosts_name_as_one_word_after_its_own(tmp_path: Path) -> None:
    command = script(tmp_path, """printf '%s|' "$@" > $(dirname $0)/said; echo on""")
    power = CommandPower(f"{command} --rack 'row 7'")
    assert await read(power, "host 1; rm -rf /") is Reading.ON
    assert (tmp_path / "said").read_text() == "--rack|row 7|host 1; rm -rf /|"


@pytest.mark.parametrize("command", ["/no/such/command", "{tmp}", "{tmp}/not-executable"])
async def test_a_command_that_cannot_be_run_reads_nothing(tmp_path: Path, command: str) -> None:
    (tmp_path / "not-executable").write_text("#!/bin/sh\necho off\n")
    assert await read(CommandPower(command.format(tmp=tmp_path))) is Reading.UNKNOWN


@pytest.mark.parametrize("command", ["", " ", "'unbalanced", "trailing\\"])
def test_a_command_that_is_none_is_refused_at_the_start(command: str) -> None:
    """Without one, the host's name would be run as a program."""
    with pytest.raises(BadSetup, match="Setting power"):
        CommandPower(command)


@pytest.mark.parametrize("body", ["exec sleep 600", "sleep 600 & wait", "trap '' TERM; echo off; sleep 600"])
async def test_a_command_that_is_silent_is_ended_with_all_it_began(tmp_path: Path, body: str) -> None:
    power = CommandPower(script(tmp_path, f"echo $$ > {tmp_path}/pid; {body}"), limit_s=1.0)
    async with asyncio.timeout(60):
        assert await read(power) is Reading.UNKNOWN
    group = (tmp_path / "pid").read_text().strip()
    async with asyncio.timeout(60):
        while living(group):  # noqa: ASYNC110  (a process's end is no event here)
            await asyncio.sleep(0.01)


def living(group: str) -> list[str]:
    """List the processes of the group; those that only nobody has taken note of yet do not count."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _parent, of = file.read_text().rpartition(") ")[2].split()[:3]
            if of == group and state != "Z":
                found.append(file.parent.name)
    return found


async def test_a_command_switches_nothing(tmp_path: Path) -> None:
    power = await CommandPower(script(tmp_path, "echo off")).of(HOST, "host1")
    assert power is not None
    assert not power.can_switch
    with pytest.raises(Refused):
        await power.switch.switch_off()


async def test_who_has_no_power_to_read_says_so() -> None:
    assert await NoPower().of(HOST, "host1") is None
