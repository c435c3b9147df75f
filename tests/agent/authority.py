"""A certificate authority, and a controller's agent port with real TLS on loopback."""

import asyncio
import base64
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import ServerConnection, serve

from renova.hosts.listener import WebSocketChannel
from renova.model.ids import HostId
from renova.uplink.identity import Identity, authority_file, certificate_file, identity_file, key_file
from renova.wire.enrolment import Enrol, Enrolled, JoinToken, NotEnrolled
from renova.wire.frames import ENROL_PATH, MAX_FRAME, PATH, decode_from_new_host, encode

from .host import Controller

DAY = datetime.timedelta(days=1)


class Authority:
    """Signs what it is given."""

    def __init__(self, name: str = "Test authority") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key.public_key(), x509.BasicConstraints(ca=True, path_length=0))

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def sign(self, request: str, name: str) -> str:
        """Return a host's certificate for a signing request."""
        csr = x509.load_pem_x509_csr(request.encode())
        assert csr.is_signature_valid
        key = csr.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signed = self._sign(subject, key, x509.BasicConstraints(ca=False, path_length=None))
        return signed.public_bytes(serialization.Encoding.PEM).decode()

    def enrol(self, state_dir: Path, name: str, controllers: tuple[str, ...] = ("127.0.0.1:9",)) -> None:
        """Have an enrolled host's identity in its state directory."""
        key = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        key_file(state_dir).write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
        certificate_file(state_dir).write_text(self.sign(request.public_bytes(encoding).decode(), name))
        authority_file(state_dir).write_text(self.pem)
        identity_file(state_dir).write_bytes(msgspec.json.encode(Identity(HostId("id-of-host"), name, controllers)))

    def serve_as(self, directory: Path, address: str) -> ssl.SSLContext:
        """Return the TLS context of a controller that is reached at this address."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        certificate = self._sign(x509.Name([]), key.public_key(), names)
        pem = directory / "controller.pem"
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        context.load_verify_locations(cadata=self.pem)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(extension, critical=not subject.rdns or isinstance(extension, x509.BasicConstraints))
            .sign(self.key, hashes.SHA256())
        )


@dataclass
class Port:
    """A controller's agent port: enrols who knows a secret, and serves the hosts with a certificate."""

    authority: Authority
    secrets: set[str] = field(default_factory=lambda: {"secret"})
    controller: Controller = field(default_factory=Controller)
    asked: list[Enrol] = field(default_factory=list)
    answer: bytes | None = None  # what is said to a new host instead of the truth
    hosts: list[str] = field(default_factory=list)  # the names in the certificates of the hosts that came
    killed: bool = False
    address: str = ""
    _open: set[ServerConnection] = field(default_factory=set)

    def drop_all(self) -> None:
        """Break all connections off, and take no more: the process was killed."""
        self.killed = True
        for connection in self._open:
            connection.transport.abort()

    def token(self, ca: str = "", secret: str = "secret", controllers: tuple[str, ...] = ()) -> str:
        token = JoinToken(controllers=controllers or (self.address,), ca=ca or self.authority.pem, secret=secret)
        return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode()

    async def serve(self, connection: ServerConnection) -> None:
        assert connection.request
        certificate = connection.transport.get_extra_info("peercert")
        if connection.request.path == ENROL_PATH:
            await self._enrol(connection)
        elif connection.request.path == PATH and certificate:
            self.hosts.append(dict(part[0] for part in certificate["subject"])["commonName"])
            self._open.add(connection)
            if self.killed:
                connection.transport.abort()
            await self.controller.accept(WebSocketChannel(connection))

    async def _enrol(self, connection: ServerConnection) -> None:
        frame = await connection.recv(decode=False)
        request = decode_from_new_host(frame)
        self.asked.append(request)
        if self.answer is not None:
            await connection.send(self.answer)
        elif request.secret in self.secrets:
            self.secrets.remove(request.secret)
            certificate = self.authority.sign(request.request, "id-of-host")
            await connection.send(encode(Enrolled(host="id-of-host", certificate=certificate, ca=self.authority.pem)))
        else:
            await connection.send(encode(NotEnrolled(reason="the join token was used; make a new one")))


@asynccontextmanager
async def a_port(
    directory: Path, reached_as: str = "127.0.0.1", authority: Authority | None = None
) -> AsyncIterator[Port]:
    """Open an agent port on loopback, whose certificate is for `reached_as`."""
    port = Port(authority or Authority())
    context = port.authority.serve_as(directory, reached_as)
    async with serve(port.serve, "127.0.0.1", 0, ssl=context, max_size=MAX_FRAME, close_timeout=1) as server:
        port.address = f"127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield port


async def unused_address() -> str:
    """Return an address of loopback where nobody listens."""
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    return address
