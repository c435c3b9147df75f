"""Secrets at rest: sealed with a key that lies in a file of the directory that controllers share, and in no database.

The file has a key a line, in base64. The first seals; all of them open, so that what was sealed before a new key was
put first can still be read. What is sealed is bound to its host: moved to another host's row, it does not open.
"""

import base64
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from renova.durable import write_first
from renova.model.errors import NotNow

_NONCE = 12  # bytes


class Seals:
    """Seals and opens texts. Its file is made when something is sealed first. All calls block on that file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._keys: dict[str, bytes] = {}  # by their ids; kept, so that secrets open while the directory is away

    def seal(self, text: bytes, host: str) -> str:
        """Return the text sealed by the newest key. `NotNow`: the file cannot be read or made."""
        try:
            if not self._file.exists():
                write_first(self._file, base64.b64encode(os.urandom(32)) + b"\n")
            keys = self._read()
        except OSError as error:
            raise NotNow(f"the keys in {self._file} cannot be read ({error.strerror})") from error
        key_id, key = next(iter(keys.items()))
        nonce = os.urandom(_NONCE)
        sealed = nonce + AESGCM(key).encrypt(nonce, text, host.encode())
        return f"{key_id}:{base64.b64encode(sealed).decode()}"

    def has_key_of(self, sealed: str) -> bool:
        """Say whether it can be opened without reading the file."""
        return sealed.partition(":")[0] in self._keys

    def open(self, sealed: str, host: str) -> bytes:
        """Return what was sealed for the host. `NotNow`: its key is not there, or it is not what was sealed."""
        key_id, _, text = sealed.partition(":")
        if key_id not in self._keys:
            try:
                self._read()
            except OSError as error:
                raise NotNow(f"the keys in {self._file} cannot be read ({error.strerror})") from error
        key = self._keys.get(key_id)
        if key is None:
            raise NotNow(f"key {key_id} is not in {self._file}: restore it from a backup, or set the secrets anew")
        try:
            raw = base64.b64decode(text, validate=True)
            return AESGCM(key).decrypt(raw[:_NONCE], raw[_NONCE:], host.encode())
        except (InvalidTag, ValueError) as error:
            raise NotNow(f"what was sealed with key {key_id} is not what it was: set the secrets anew") from error

    def newest(self) -> str:
        """Return the id of the key that seals now. `NotNow`."""
        try:
            return next(iter(self._read()))
        except OSError as error:
            raise NotNow(f"the keys in {self._file} cannot be read ({error.strerror})") from error

    def _read(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for line in self._file.read_text().split():
            try:
                key = base64.b64decode(line, validate=True)
            except ValueError as error:
                raise NotNow(f"a line of {self._file} is no base64") from error
            if len(key) != 32:
                raise NotNow(f"a key in {self._file} has not 32 bytes")
            found[key_id(key)] = key
        if not found:
            raise NotNow(f"there is no key in {self._file}")
        self._keys |= found
        return found


def key_id(key: bytes) -> str:
    """Name a key, so that it may be spoken of."""
    return hashlib.sha256(b"renova power key" + key).hexdigest()[:8]
