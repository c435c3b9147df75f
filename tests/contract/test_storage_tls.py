"""Volumes are served only to hosts of this cloud, and these reach only the storage host they were sent to."""

import asyncio
import socket
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

from renova.agent.identity import authority_file, certificate_file, key_file
from renova.agent.nbd_certificates import lay_out
from renova.drivers.volume.nbd import NbdStorage
from renova.hosts.authority import Authority
from renova.model.clock import SystemClock
from renova.model.ids import HostId
from tests.contract.test_storage import FIRST, Images, want

STORAGE, COMPUTE = HostId("00000000-0000-4000-8000-000000000051"), HostId("00000000-0000-4000-8000-000000000001")

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
    """A volume that is served under TLS, and how to look at it."""

    port: int
    compute: Path

    async def look(self, tls: Path | None, hostname: str = STORAGE) -> str:
        """Return what qemu-img says of the volume."""
        options = f"driver=nbd,host=127.0.0.1,port={self.port},export={FIRST.name}"
        argv = ["qemu-img", "info"]
        if tls is not None:
            argv += ["--object", f"tls-creds-x509,id=tls,endpoint=client,dir={tls}"]
            options += f",tls-creds=tls,tls-hostname={hostname}"
        argv += ["--image-opts", options]
        ended = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=30, check=False)
        return ended.stdout + ended.stderr


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    authority = Authority(tmp_path / "ca", SystemClock())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tls = enrolled(authority, STORAGE, tmp_path / "storage")
    storage = NbdStorage(tmp_path / "volumes", SystemClock(), address="127.0.0.1", port=port, tls=tls)
    await storage.open(lambda: None)
    await storage.have(want(FIRST), Images())
    yield Served(port, enrolled(authority, COMPUTE, tmp_path / "compute"))
    await storage.close()


async def test_a_host_of_the_cloud_reaches_the_volume(served: Served) -> None:
    assert "virtual size: 4 MiB" in await served.look(served.compute)


async def test_a_host_finds_out_that_it_reached_another_one_than_it_was_sent_to(served: Served) -> None:
    assert "does not match the hostname" in await served.look(served.compute, COMPUTE)


async def test_without_a_certificate_nobody_reaches_it(served: Served, tmp_path: Path) -> None:
    assert "TLS negotiation required" in await served.look(None)
    only_the_authority = tmp_path / "stranger"
    only_the_authority.mkdir()
    (only_the_authority / "ca-cert.pem").write_bytes((served.compute / "ca-cert.pem").read_bytes())
    assert "virtual size" not in await served.look(only_the_authority)


async def test_a_certificate_of_another_cloud_is_worth_nothing(served: Served, tmp_path: Path) -> None:
    stranger = enrolled(Authority(tmp_path / "other-ca", SystemClock()), COMPUTE, tmp_path / "other")
    (stranger / "ca-cert.pem").write_bytes((served.compute / "ca-cert.pem").read_bytes())
    assert "virtual size" not in await served.look(stranger)
