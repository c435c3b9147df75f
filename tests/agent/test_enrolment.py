"""A new host becomes one of the cloud, over real TLS on loopback; and trusts nobody but who its token speaks of."""

import base64
import json
import ssl
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from renova.agent.enrolment import enrolled
from renova.model.errors import BadSetup, Broken, NotNow
from renova.model.ids import HostId
from renova.settings import AgentSettings
from renova.uplink.connection import TlsDialer
from renova.uplink.identity import Identity, read_identity
from renova.wire.enrolment import Enrolled
from renova.wire.frames import encode

from .authority import Authority, Port, a_port, unused_address


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    async with a_port(tmp_path) as port:
        yield port


def settings(tmp_path: Path, token: str | bytes | None) -> AgentSettings:
    file = tmp_path / "token"
    if token is not None:
        file.write_bytes(token.encode() if isinstance(token, str) else token)
    return AgentSettings(
        name="host1", state_dir=str(tmp_path / "state"), join_token_file="" if token is None else str(file)
    )


async def test_a_host_is_enrolled_once(port: Port, tmp_path: Path) -> None:
    wanted = Identity(HostId("id-of-host"), "host1", (port.address,))
    assert await enrolled(settings(tmp_path, port.token() + "\n")) == wanted
    assert await enrolled(settings(tmp_path, None)) == wanted
    assert read_identity(tmp_path / "state") == wanted
    assert len(port.asked) == 1
    request = x509.load_pem_x509_csr(port.asked[0].request.encode())
    assert [name.value for name in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["host1"]
    files = sorted((tmp_path / "state").iterdir())
    assert [file.name for file in files] == ["ca.pem", "host.json", "host.pem", "key.pem"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert "PRIVATE" not in port.asked[0].request


async def test_an_enrolled_host_is_known_by_its_certificate(port: Port, tmp_path: Path) -> None:
    await enrolled(settings(tmp_path, port.token()))
    channel = await TlsDialer(port.address, tmp_path / "state").dial()
    await channel.close()
    assert port.hosts == ["id-of-host"]


async def test_the_key_of_a_broken_off_enrolment_is_used_again(port: Port, tmp_path: Path) -> None:
    port.answer = b"junk"
    with pytest.raises(Broken, match="malformed"):
        await enrolled(settings(tmp_path, port.token()))
    assert read_identity(tmp_path / "state") is None
    port.answer = None
    await enrolled(settings(tmp_path, port.token()))
    keys = [x509.load_pem_x509_csr(ask.request.encode()).public_key() for ask in port.asked]
    assert keys[0] == keys[1]


async def test_another_controller_is_tried_when_one_is_away(port: Port, tmp_path: Path) -> None:
    away = await unused_address()
    identity = await enrolled(settings(tmp_path, port.token(controllers=(away, port.address))))
    assert identity.controllers == (away, port.address)


async def test_controllers_that_are_away_may_come_back(port: Port, tmp_path: Path) -> None:
    away = await unused_address()
    with pytest.raises(NotNow, match=f"{away} cannot be reached"):
        await enrolled(settings(tmp_path, port.token(controllers=(away,))))


async def test_a_used_token_is_refused_with_the_controllers_own_words(port: Port, tmp_path: Path) -> None:
    with pytest.raises(BadSetup, match="does not enrol this host: the join token was used; make a new one"):
        await enrolled(settings(tmp_path, port.token(secret="another")))


async def test_a_controller_of_another_authority_hears_no_secret(port: Port, tmp_path: Path) -> None:
    with pytest.raises(BadSetup, match="is no controller of this cloud"):
        await enrolled(settings(tmp_path, port.token(ca=Authority().pem)))
    assert port.asked == []


async def test_a_controller_under_another_address_hears_no_secret(tmp_path: Path) -> None:
    async with a_port(tmp_path, reached_as="192.0.2.1") as port:
        with pytest.raises(BadSetup, match="IP address mismatch"):
            await enrolled(settings(tmp_path, port.token()))
        assert port.asked == []


async def test_a_certificate_for_another_key_is_not_kept(port: Port, tmp_path: Path) -> None:
    await enrolled(settings(tmp_path, port.token()))
    other = (tmp_path / "state" / "host.pem").read_text()
    port.answer = encode(Enrolled(host="id", certificate=other, ca=port.authority.pem))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(Broken, match="another key"):
        await enrolled(settings(elsewhere, port.token()))
    port.answer = encode(Enrolled(host="id", certificate=other, ca=Authority().pem))
    with pytest.raises(Broken, match="did not sign"):
        await enrolled(settings(elsewhere, port.token()))
    assert read_identity(elsewhere / "state") is None


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"not a token at all",
        b"\xff\xfe",
        base64.urlsafe_b64encode(b'{"controllers": []}'),
        base64.urlsafe_b64encode(json.dumps({"controllers": [], "ca": "x", "secret": "y"}).encode()),
        base64.urlsafe_b64encode(json.dumps({"controllers": ["127.0.0.1:1"], "ca": "x", "secret": "y"}).encode()),
    ],
    ids=["empty", "words", "bytes", "half", "no controller", "no certificate"],
)
async def test_a_token_that_is_none_is_said_to_be_none(token: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadSetup, match="token"):
        await enrolled(settings(tmp_path, token))


async def test_without_a_token_the_operator_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadSetup, match=r"`renova host join-token`.*RENOVA_JOIN_TOKEN_FILE"):
        await enrolled(settings(tmp_path, None))
    gone = AgentSettings(name="host1", state_dir=str(tmp_path / "state"), join_token_file=str(tmp_path / "gone"))
    with pytest.raises(BadSetup, match=r"cannot be read .*join_token_file"):
        await enrolled(gone)


async def test_a_name_that_is_none_is_refused(port: Port, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(port.token())
    with pytest.raises(BadSetup, match="RENOVA_NAME"):
        await enrolled(AgentSettings(name="", state_dir=str(tmp_path / "state"), join_token_file=str(file)))


@pytest.mark.parametrize("name", ["key.pem", "host.pem", "ca.pem"])
async def test_a_lost_part_of_the_identity_is_named(port: Port, tmp_path: Path, name: str) -> None:
    await enrolled(settings(tmp_path, port.token()))
    (tmp_path / "state" / name).unlink()
    with pytest.raises(BadSetup, match=name):
        await enrolled(settings(tmp_path, None))


async def test_a_damaged_identity_is_named(port: Port, tmp_path: Path) -> None:
    await enrolled(settings(tmp_path, port.token()))
    for content in (b"{", b'{"name": "\xff"}'):
        (tmp_path / "state" / "host.json").write_bytes(content)
        with pytest.raises(BadSetup, match="damaged"):
            await enrolled(settings(tmp_path, None))
    (tmp_path / "state" / "host.json").unlink()
    (tmp_path / "state" / "key.pem").write_text("x")
    with pytest.raises(BadSetup, match=r"key\.pem is damaged"):
        await enrolled(settings(tmp_path, port.token()))


def test_tls_is_of_the_newest_kind() -> None:
    from renova.uplink.connection import trusting

    context = trusting(pem=Authority().pem)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
