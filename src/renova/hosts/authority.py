"""The controllers' own certificate authority: who is a controller, and which host is which.

Hosts are told the authority's certificate in their join token, so that they trust nobody else from the first byte.
"""

import errno
import hashlib
import ipaddress
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from renova.durable import write_whole
from renova.model.clock import Clock
from renova.model.errors import BadSetup, Invalid
from renova.model.ids import HostId

YEARS = timedelta(days=3650)
KEY, CERTIFICATE = "ca-key.pem", "ca.pem"
EARLIER = timedelta(hours=1)  # clocks of hosts may be behind ours


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """Files with which a controller serves TLS to agents."""

    certificate: Path
    key: Path
    authority: Path


class Authority:
    """Signs certificates; its key never leaves the directory that the controllers share.

    `own`: where this controller's own certificate is kept; the authority's directory where there is but one. Raises
    `BadSetup` when some of the authority is gone or damaged, `OSError` while its directory cannot be used.
    """

    def __init__(self, directory: Path, clock: Clock, own: Path | None = None) -> None:
        self._directory = directory
        self._own = own or directory
        self._clock = clock
        key_file, certificate_file = directory / KEY, directory / CERTIFICATE
        if not certificate_file.exists():
            self._begin()
        try:
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            self._certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        except (FileNotFoundError, ValueError) as error:
            raise BadSetup(
                f"The certificate authority in {directory} cannot be used ({error}). Restore it from a backup; "
                "a new one would shut every enrolled host out."
            ) from error
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    @property
    def pem(self) -> str:
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def fingerprint(self) -> str:
        return fingerprint(self._certificate.public_bytes(serialization.Encoding.DER))

    def _begin(self) -> None:
        """Make the authority, whole or not at all; where another controller was first, that one's is taken."""
        self._directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = Path(tempfile.mkdtemp(prefix=f"{self._directory.name}-", dir=self._directory.parent))
        try:
            self._make(fresh)
            fresh.rename(self._directory)
        except OSError as error:
            shutil.rmtree(fresh, ignore_errors=True)
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise

    def _make(self, directory: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Renova hosts")])
        certificate = (
            self._builder(name, key.public_key(), name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_key_usage(signs=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        write_whole(directory / KEY, _pem(key))
        write_whole(directory / CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey, issuer: x509.Name | None = None
    ) -> x509.CertificateBuilder:
        now: datetime = self._clock.wall()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or self._certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - EARLIER)
            .not_valid_after(now + YEARS)
        )

    def serve_as(self, names: Iterable[str]) -> ServerIdentity:
        """Return a certificate by which agents know this controller under all of these names and addresses."""
        self._own.mkdir(parents=True, exist_ok=True, mode=0o700)
        identity = ServerIdentity(
            self._own / "controller.pem", self._own / "controller-key.pem", self._directory / CERTIFICATE
        )
        wanted = [_general_name(name) for name in dict.fromkeys(names)]
        if self._still_serves(identity, wanted):
            return identity
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Renova controller")]), key.public_key())
            .add_extension(x509.SubjectAlternativeName(wanted), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        write_whole(identity.key, _pem(key))
        write_whole(identity.certificate, certificate.public_bytes(serialization.Encoding.PEM))
        return identity

    def _still_serves(self, identity: ServerIdentity, wanted: Iterable[x509.GeneralName]) -> bool:
        """Say whether there is a certificate, of this authority and for the key beside it, with all these names."""
        try:
            key = serialization.load_pem_private_key(identity.key.read_bytes(), None)
            have = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
            have.verify_directly_issued_by(self._certificate)
        except (FileNotFoundError, ValueError, InvalidSignature):
            return False
        alternative = have.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return key.public_key() == have.public_key() and set(wanted) <= set(alternative)

    def sign_host(self, request_pem: str, host: HostId) -> tuple[str, str]:
        """Return a host's certificate (PEM) and its fingerprint. The name in the request counts for nothing.

        With it a host reaches controllers, and storage hosts over NBD; and one of these serves volumes. It is made out
        to the host's id, not to an address: which one a host has, only the host says.
        """
        try:
            request = x509.load_pem_x509_csr(request_pem.encode())
            public_key = request.public_key()
            signed = request.is_signature_valid
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Invalid("the certificate signing request is malformed") from error
        if not signed or not isinstance(public_key, ec.EllipticCurvePublicKey):
            raise Invalid("the certificate signing request is not signed by an elliptic curve key of its own")
        certificate = (
            self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), public_key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        der = certificate.public_bytes(serialization.Encoding.DER)
        return certificate.public_bytes(serialization.Encoding.PEM).decode(), fingerprint(der)


def fingerprint(der: bytes) -> str:
    """Return what identifies a certificate in the database."""
    return hashlib.sha256(der).hexdigest()


def host_named_in(der: bytes) -> HostId:
    """Return the host that a verified client certificate speaks for."""
    names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return HostId(str(names[0].value)) if names else HostId("")


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs,  # QEMU insists on it, though no key of ours enciphers any
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
