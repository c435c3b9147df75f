"""A volume is served to one host of this cloud only, and that reaches only the storage host it was sent to."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from renova.agent.nbd_certificates import lay_out
from renova.drivers.volume.nbd import NbdStorage
from renova.hosts.authority import Authority
from renova.model.clock import SystemClock
from renova.model.ids import HostId
from renova.model.storage import Export
from renova.uplink.identity import authority_file, certificate_file, key_file
from tests.contract.test_storage import COPY, ELSEWHERE, FIRST, HOST, OTHER_HOST, PORT, Images, want

STORAGE = HostId("00000000-0000-4000-8000-000000000051")

pytestmark = pytest.mark.skipif(which("qemu-storage-daemon") is None, reason="qemu-storage-daemon is not installed")


def enrolled(authority: Authority, host: HostId, state: Path) -> Path:
    """Have a host as enrolment leaves it, and return the directory of its certificates for QEMU."""
    state.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "any")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    text, _ = authority.sign_host(request.public_bytes(serialization.Encoding.PEM).decode(), host)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key_file(state).write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    certificate_file(state).write_text(text)
    authority_file(state).write_text(authority.pem)
    lay_out(state, state / "nbd-tls")
    return state / "nbd-tls"


@dataclass
class Served:
    """Two volumes that are served under TLS, each to one host, and how to look at them."""

    compute: Path  # HOST's certificates: FIRST is for it
    other: Path  # OTHER_HOST's: ELSEWHERE is

    async def look(self, tls: Path | None, export: Export = FIRST, hostname: str = STORAGE) -> str:
        """Return what qemu-img says of the volume."""
        options = f"driver=nbd,host=127.0.0.1,port={export.port},export={export.name}"
        if tls is not None:
            options += f",tls-creds=tls,tls-hostname={hostname}"
        return await _run("qemu-img", "info", *_credentials(tls), "--image-opts", options)

    async def names(self, tls: Path | None, port: int) -> str:
        """Return what qemu-nbd says of all that is served on the port."""
        there = ["-b", "127.0.0.1", "-p", f"{port}"]
        way = ["--tls-creds", "tls", "--tls-hostname", STORAGE] if tls is not None else []
        return await _run("qemu-nbd", "--list", *_credentials(tls), *way, *there)


def _credentials(tls: Path | None) -> list[str]:
    return [] if tls is None else ["--object", f"tls-creds-x509,id=tls,endpoint=client,dir={tls}"]


async def _run(*argv: str) -> str:
    ended = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=30, check=False)
    return ended.stdout + ended.stderr


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    authority = Authority(tmp_path / "ca", SystemClock())
    tls = enrolled(authority, STORAGE, tmp_path / "storage")
    ports = range(PORT, PORT + 1)
    storage = NbdStorage(tmp_path / "volumes", SystemClock(), address="127.0.0.1", ports=ports, tls=tls)
    await storage.open(lambda: None)
    await storage.have(want(FIRST), Images())
    await storage.have(want(ELSEWHERE, volume=COPY), Images())
    yield Served(enrolled(authority, HOST, tmp_path / "compute"), enrolled(authority, OTHER_HOST, tmp_path / "other"))
    await storage.close()


async def test_a_host_lists_and_opens_what_is_served_to_it_and_nothing_else(served: Served) -> None:
    for own, mine, others in ((served.compute, FIRST, ELSEWHERE), (served.other, ELSEWHERE, FIRST)):
        assert "virtual size: 4 MiB" in await served.look(own, mine)
        names = await served.names(own, mine.port)
        assert "exports available: 1" in names
        assert mine.name in names
        assert "virtual size" not in await served.look(own, others)
        assert "virtual size" not in await served.look(own, Export(others.name, mine.host, mine.port))
        assert "exports available" not in await served.names(own, others.port)


async def test_a_storage_hosts_own_certificate_opens_nothing(served: Served, tmp_path: Path) -> None:
    assert "virtual size" not in await served.look(tmp_path / "storage" / "nbd-tls")
    assert "exports available" not in await served.names(tmp_path / "storage" / "nbd-tls", PORT)


async def test_a_host_of_the_cloud_reaches_the_volume(served: Served) -> None:
    assert "virtual size: 4 MiB" in await served.look(served.compute)


async def test_a_host_finds_out_that_it_reached_another_one_than_it_was_sent_to(served: Served) -> None:
    assert "does not match the hostname" in await served.look(served.compute, hostname=HOST)


async def test_without_a_certificate_nobody_reaches_it(served: Served, tmp_path: Path) -> None:
    assert "TLS negotiation required" in await served.look(None)
    only_the_authority = tmp_path / "stranger"
    only_the_authority.mkdir()
    (only_the_authority / "ca-cert.pem").write_bytes((served.compute / "ca-cert.pem").read_bytes())
    for tls in (None, only_the_authority):
        assert "virtual size" not in await served.look(tls)
        assert "exports available" not in await served.names(tls, PORT)


async def test_a_certificate_of_another_cloud_is_worth_nothing(served: Served, tmp_path: Path) -> None:
    stranger = enrolled(Authority(tmp_path / "other-ca", SystemClock()), HOST, tmp_path / "stranger")
    (stranger / "ca-cert.pem").write_bytes((served.compute / "ca-cert.pem").read_bytes())
    assert "virtual size" not in await served.look(stranger)
    assert "exports available" not in await served.names(stranger, PORT)
