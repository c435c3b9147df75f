"""A guard that cannot begin takes no host along: whatever is wrong on its disk, no watchdog is left counting. And who
finds that it has ended closes its gate, whatever is wrong with the settings."""

from collections.abc import Callable
from pathlib import Path

import pytest

from renova.drivers.guard import Watchdog
from renova.drivers.guard.closing import Closing
from renova.drivers.guard.listed import Listed
from renova.drivers.guard.simulated import SimulatedWatchdog
from renova.guard.armed_mark import ArmedMark
from renova.guard.last_place import LastPlace, Place
from renova.main.guard_commands import closed
from renova.main.guard_process import guard_host
from renova.model.errors import BadSetup, NotNow
from renova.settings import AgentSettings
from renova.uplink.identity import certificate_file
from renova.uplink.local_socket import READERS_SOCKET, SOCKET
from tests.agent.authority import Authority

NAME = "compute1"


class Host:
    """An enrolled host that is to be armed, with guests' gate and a watchdog of which the time is told by hand."""

    def __init__(self, root: Path) -> None:
        self.state = root / "state"
        self.state.mkdir()
        self.gate = Listed(root / "gate")
        self.settings = AgentSettings(
            name=NAME, state_dir=str(self.state), gate=str(root / "gate"), guard_armed=True, guard_port=1
        )
        self.last_place = LastPlace(root / "run")
        self.opened = 0
        self.resets = 0
        self._due: list[Callable[[], None]] = []
        Authority().enrol(self.state, NAME)

    def open_watchdog(self, _settings: AgentSettings, _state: Path) -> Watchdog:
        self.opened += 1
        return SimulatedWatchdog(self._reset, lambda _seconds, act: self._due.append(act))

    def _reset(self) -> None:
        self.resets += 1

    def pass_by(self) -> None:
        """Have much time pass, in which nobody pets."""
        for act in self._due:
            act()

    async def guard(self, open_watchdog: Callable[[AgentSettings, Path], Watchdog] | None = None) -> None:
        await guard_host(self.settings, open_watchdog or self.open_watchdog, self.last_place)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def spoil_certificate(host: Host) -> None:
    certificate_file(host.state).write_text("damaged")


def have_no_page(host: Host) -> None:
    (host.state / "guard.json").mkdir()


def have_no_socket(host: Host) -> None:
    (host.state / SOCKET).mkdir()


def have_no_readers_socket(host: Host) -> None:
    (host.state / READERS_SOCKET).mkdir()


@pytest.mark.parametrize("spoil", [spoil_certificate, have_no_page, have_no_socket, have_no_readers_socket])
@pytest.mark.parametrize("was_armed", [True, False])
async def test_a_guard_that_fails_before_it_begins_leaves_a_closed_gate_and_no_watchdog_counting(
    host: Host, spoil: Callable[[Host], None], was_armed: bool
) -> None:
    if was_armed:
        ArmedMark(host.state).set()
    spoil(host)
    with pytest.raises((BadSetup, NotNow, OSError)):
        await host.guard()
    host.pass_by()
    assert host.resets == 0
    assert host.gate.is_frozen()


async def test_a_host_whose_disk_takes_no_mark_is_not_armed_and_its_guests_go_on(host: Host) -> None:
    (host.state / "guard-armed.new").mkdir()  # where it is written first
    with pytest.raises(BadSetup, match="so this host is not armed"):
        await host.guard()
    assert host.opened == 0
    assert not host.gate.is_frozen()


@pytest.mark.parametrize("was_armed", [True, False])
async def test_a_watchdog_that_will_not_do_leaves_a_host_armed_or_not_as_it_was(host: Host, was_armed: bool) -> None:
    mark = ArmedMark(host.state)
    if was_armed:
        mark.set()

    def refused(_settings: AgentSettings, _state: Path) -> Watchdog:
        assert mark.is_set(), "it is found out that the disk is full before anything counts"
        raise BadSetup("somebody else pets it")

    with pytest.raises(BadSetup, match="somebody else"):
        await host.guard(refused)
    assert mark.is_set() is was_armed
    assert host.gate.is_frozen() is was_armed


@pytest.fixture
def armed(host: Host) -> Host:
    """A host whose guard was armed, and has ended without closing its gate."""
    host.gate.make()
    host.last_place.keep(Place(str(host.gate.path), str(host.state)))
    ArmedMark(host.state).set()
    return host


async def test_an_armed_guard_has_said_where_its_gate_is_before_anything_fails(host: Host) -> None:
    spoil_certificate(host)
    with pytest.raises(BadSetup):
        await host.guard()
    assert host.last_place.read() == Place(str(host.gate.path), str(host.state))


async def test_a_place_that_cannot_be_kept_leaves_the_gate_closed_all_the_same(host: Host, tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    spoil_certificate(host)
    with pytest.raises(BadSetup):
        await host.guard()
    assert host.gate.is_frozen()


BROKEN = ["gaurd_armed = true", "gate = = 1", 'gate = "/proc/self/gate"\nstate_dir = ""\nguard_port = 0.5', None]


@pytest.mark.parametrize("content", BROKEN)
@pytest.mark.parametrize("if_armed", [True, False])
async def test_the_gate_of_a_guard_that_has_ended_is_closed_though_the_settings_are_broken(
    armed: Host, content: str | None, if_armed: bool
) -> None:
    config = armed.state / "agent.toml"
    if content is not None:
        config.write_text(content)
    ended, trouble = await closed(config, armed.last_place, if_armed=if_armed)
    assert armed.gate.is_frozen()
    assert ended is Closing.HELD
    assert str(config) in trouble
    assert f"last armed guard had: {armed.gate.path}." in trouble


async def test_broken_settings_close_no_gate_of_a_host_that_was_disarmed(armed: Host) -> None:
    ArmedMark(armed.state).remove()
    ended, trouble = await closed(armed.state / "gone.toml", armed.last_place, if_armed=True)
    assert ended is None
    assert "cannot be read" in trouble
    assert not armed.gate.is_frozen()


async def test_settings_that_are_good_say_which_gate_is_closed(armed: Host, tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(f'gate = "{tmp_path}/another"\nstate_dir = "{armed.state}"\n')
    assert await closed(config, armed.last_place, if_armed=True) == (Closing.HELD, "")
    assert Listed(tmp_path / "another").is_frozen()


async def test_an_arming_that_has_failed_leaves_the_guests_to_go_on_when_its_guard_has_ended(
    host: Host, tmp_path: Path
) -> None:
    def refused(_settings: AgentSettings, _state: Path) -> Watchdog:
        raise BadSetup("somebody else pets it")

    with pytest.raises(BadSetup, match="somebody else"):
        await host.guard(refused)
    config = tmp_path / "agent.toml"
    config.write_text(f'gate = "{host.gate.path}"\nstate_dir = "{host.state}"\nguard_armed = true\n')
    assert await closed(config, host.last_place, if_armed=True) == (None, "")
    assert not host.gate.is_frozen()


@pytest.mark.parametrize("kept", [None, b"{", b"[]"])
async def test_where_no_guard_was_armed_broken_settings_are_told(
    host: Host, tmp_path: Path, kept: bytes | None
) -> None:
    if kept is not None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "guard.json").write_bytes(kept)
    with pytest.raises(BadSetup, match=r"gone\.toml cannot be read"):
        await closed(tmp_path / "gone.toml", host.last_place, if_armed=True)


def test_a_host_of_which_nobody_can_find_out_counts_as_armed(tmp_path: Path) -> None:
    assert not ArmedMark(tmp_path).may_be_set()
    assert ArmedMark(tmp_path / ("x" * 300)).may_be_set(), "no such name can be looked for"
