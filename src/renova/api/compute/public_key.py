"""Public keys: is it one, what is its fingerprint, and a new pair where the user has none."""

import base64
import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from renova.model.errors import Invalid


def fingerprint(key: str, kind: str) -> str:
    """Return the key's fingerprint as Nova writes it; `Invalid` for what is no public key of this kind."""
    try:
        if kind == "x509":
            return _colons(x509.load_pem_x509_certificate(key.encode()).fingerprint(hashes.SHA1()).hex())  # noqa: S303  (as Nova)
        serialization.load_ssh_public_key(key.strip().encode())
        # MD5 names the key to people, as ssh-keygen did; nothing relies on it.
        return _colons(hashlib.md5(base64.b64decode(key.split()[1]), usedforsecurity=False).hexdigest())
    except (ValueError, IndexError, UnsupportedAlgorithm) as error:
        raise Invalid("Keypair data is invalid: failed to generate fingerprint") from error


def _colons(digits: str) -> str:
    return ":".join(digits[place : place + 2] for place in range(0, len(digits), 2))


def new_pair(comment: str) -> tuple[str, str]:
    """Return a new RSA key pair: the private half as PEM, the public one as OpenSSH writes it. Takes a while."""
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return pem.decode(), f"{public.decode()} {comment}"
