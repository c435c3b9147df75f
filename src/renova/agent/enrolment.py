"""How a new host becomes one of the cloud: a key made here, a certificate signed there, once.

`main` calls `enrolled` before it starts the agent. An operator puts a join token on the host: where the controllers
are, whom to trust, and a secret that is good for one host. Nothing else is trusted, from the first byte on.
"""

import asyncio
import binascii
from pathlib import Path

import msgspec
import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.exceptions import ConnectionClosed

from renova.drivers.blocking import in_thread
from renova.durable import write_whole
from renova.model.errors import BadSetup, Broken, NotNow, unusable
from renova.model.ids import HostId
from renova.settings import AgentSettings
from renova.uplink.connection import open_connection, trusting
from renova.uplink.identity import (
    Identity,
    authority_file,
    certificate_file,
    identity_file,
    key_file,
    read_identity,
)
from renova.wire.enrolment import Enrol, Enrolled, JoinToken, NotEnrolled, decode_join_token
from renova.wire.frames import ENROL_PATH, decode_to_new_host, encode

log = structlog.get_logger()

ANSWER_S = 30.0


async def enrolled(settings: AgentSettings) -> Identity:
    """Return who this host is; enrol it with the join token if it is nobody yet.

    `NotNow` when no controller can be reached, or the state directory cannot be used now. `BadSetup` when there is no
    good token, or when who answers is not the controller that the token speaks of. May be repeated: an enrolled host
    asks nobody.
    """
    state_dir = Path(settings.state_dir)
    identity = read_identity(state_dir)
    if identity is not None:
        return identity
    if not settings.join_token_file:
        raise BadSetup(
            "This host is not enrolled. Make a join token (`renova host join-token`), put it into a file here and name "
            "that with RENOVA_JOIN_TOKEN_FILE, or by join_token_file in its settings."
        )
    token = read_token(Path(settings.join_token_file))
    return await _enrol(state_dir, token, settings.name)


def read_token(path: Path) -> JoinToken:
    """Return the join token in the file; `BadSetup` says what is wrong with it."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadSetup(f"The join token {path} cannot be read ({error.strerror}): see join_token_file.") from error
    try:
        token = decode_join_token(text.strip())
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise BadSetup(
            f"{path} holds no join token, or only a part of one. Copy it whole, or make a new one by "
            "`renova host join-token`."
        ) from error
    if not token.controllers:
        raise BadSetup(f"The join token {path} names no controller. Make a new one: `renova host join-token`.")
    return token


async def _enrol(state_dir: Path, token: JoinToken, name: str) -> Identity:
    # Files in threads, here and below: each waits for the disk, and a process may have many hosts to enrol.
    key = await in_thread(None, _own_key, state_dir)
    context = trusting(pem=token.ca)
    request = _signing_request(key, name)
    unreached: list[str] = []
    for address in token.controllers:
        try:
            connection = await open_connection(address, ENROL_PATH, context)
        except NotNow as error:
            unreached.append(str(error))
            continue
        try:
            async with asyncio.timeout(ANSWER_S):
                await connection.send(encode(Enrol(secret=token.secret, name=name, request=request)))
                frame = await connection.recv(decode=False)
        except (ConnectionClosed, TimeoutError) as error:
            unreached.append(f"{address} gave no answer ({error or 'in time'})")
            continue
        finally:
            await connection.close()
        answer = decode_to_new_host(frame)
        if isinstance(answer, NotEnrolled):
            raise BadSetup(f"{address} does not enrol this host: {answer.reason}")
        return await in_thread(None, _keep, state_dir, key, answer, name, token.controllers)
    raise NotNow(f"no controller enrolled this host: {'; '.join(unreached)}")


def _keep(
    state_dir: Path, key: ec.EllipticCurvePrivateKey, answer: Enrolled, name: str, controllers: tuple[str, ...]
) -> Identity:
    try:
        certificate = x509.load_pem_x509_certificate(answer.certificate.encode())
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(answer.ca.encode()))
    except (ValueError, TypeError, InvalidSignature) as error:
        raise Broken("the controller answered with a certificate that its authority did not sign") from error
    if certificate.public_key() != key.public_key():
        raise Broken("the controller answered with a certificate for another key")
    identity = Identity(HostId(answer.host), name, controllers)
    _write(authority_file(state_dir), answer.ca.encode())
    _write(certificate_file(state_dir), answer.certificate.encode())
    _write(identity_file(state_dir), msgspec.json.encode(identity))
    log.info("host enrolled", host=identity.host, name=name)
    return identity


def _own_key(state_dir: Path) -> ec.EllipticCurvePrivateKey:
    """Return the host's key; the one of an enrolment that was broken off is used again."""
    path = key_file(state_dir)
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            key = serialization.load_pem_private_key(path.read_bytes(), None)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return key
    except OSError as error:
        raise unusable(error, f"The agent's state directory {state_dir} cannot be used ({error.strerror}).") from error
    except ValueError as error:
        raise BadSetup(f"{path} is damaged. Remove it; the host is not enrolled yet.") from error
    made = ec.generate_private_key(ec.SECP256R1())
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    _write(path, made.private_bytes(encoding, form, serialization.NoEncryption()))
    return made


def _signing_request(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    try:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    except ValueError as error:
        raise BadSetup(f"{name!r} cannot be a host's name ({error}). Set another with RENOVA_NAME.") from error
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise unusable(error, f"{path} cannot be written ({error.strerror}).") from error
