"""A guard that cannot begin takes no host along: whatever is wrong on its disk, no watchdog is left counting."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from renova.drivers.guard import Watchdog
from renova.drivers.guard.listed import Listed
from renova.drivers.guard.simulated import SimulatedWatchdog
from renova.guard.armed_mark import ArmedMark
from renova.main.guard_process import guard_host
from renova.model.errors import BadSetup, NotNow
from renova.model.ids import HostId
from renova.settings import AgentSettings
from renova.uplink.identity import Identity, authority_file, certificate_file, identity_file, key_file
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
        self.opened = 0
        self.resets = 0
        self._due: list[Callable[[], None]] = []
        self._enrol()

    def _enrol(self) -> None:
        authority, key = Authority(), ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        key_file(self.state).write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
        certificate_file(self.state).write_text(authority.sign(request.public_bytes(encoding).decode(), NAME))
        authority_file(self.state).write_text(authority.pem)
        identity_file(self.state).write_bytes(msgspec.json.encode(Identity(HostId("id"), NAME, ("127.0.0.1:9",))))

    def open_watchdog(self, _settings: AgentSettings, _state: Path) -> Watchdog:
        self.opened += 1
        return SimulatedWatchdog(self._reset, lambda _seconds, act: self._due.append(act))

    def _reset(self) -> None:
        self.resets += 1

    def pass_by(self) -> None:
        """Have much time pass, in which nobody pets."""
        for act in self._due:
            act()

    async def guard(self) -> None:
        await guard_host(self.settings, self.open_watchdog)


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
        await guard_host(host.settings, refused)
    assert mark.is_set() is was_armed
    assert host.gate.is_frozen() is was_armed
