"""How a new host gets its certificate: once, over a connection without client certificate."""

import base64
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from renova.wire.message import Message, Text


class JoinToken(msgspec.Struct, frozen=True):
    """What an operator hands to a new host: where controllers are, whom to trust, and a secret good for one host."""

    controllers: tuple[str, ...]  # host:port
    ca: str  # PEM: the controllers' certificates must be signed by it
    secret: str


def decode_join_token(text: str | bytes) -> JoinToken:
    """Return the token that is written so. Raises `ValueError`, also as msgspec's or binascii's, for what is none."""
    return msgspec.json.decode(base64.urlsafe_b64decode(text), type=JoinToken)


class Enrol(Message, frozen=True, kw_only=True, tag="enrol"):
    """A new host asks for its certificate."""

    secret: Text
    name: Text
    # PEM of a certificate signing request; the private key never leaves the host.
    request: Annotated[str, Meta(max_length=16_384)]


class Enrolled(Message, frozen=True, kw_only=True, tag="enrolled"):
    """The host's identity from now on."""

    host: str
    certificate: str  # PEM
    ca: str


class NotEnrolled(Message, frozen=True, kw_only=True, tag="not-enrolled"):
    """Why not, and what to do."""

    reason: str


ToNewHost: TypeAlias = Enrolled | NotEnrolled
