"""Frames: how a message becomes bytes and is read again, and by which end it may be said."""

from typing import TypeAlias

import msgspec

from renova.model.errors import Broken
from renova.wire.commands import Answer, Command
from renova.wire.duties import Clean, Cleaned, NotCleaned
from renova.wire.enrolment import Enrol, ToNewHost
from renova.wire.images import ImageBytes, ImagePiece, ImageTaken, Tidy, WantImage
from renova.wire.leases import Fenced, GuardHello, GuardWelcome, Renew, Renewed
from renova.wire.message import Message
from renova.wire.questions import Read
from renova.wire.sessions import Controllers, Hello, Peers, Report, Reported, Standing, Welcome
from renova.wire.storage import StorageCommand

PATH = "/host"
ENROL_PATH = "/enrol"
MAX_FRAME = 4 * 1024 * 1024  # bytes; images travel in pieces of at most 1 MiB

FromAgent: TypeAlias = Hello | GuardHello | Renew | Answer | Report | Cleaned | NotCleaned | WantImage | ImageBytes
FromController: TypeAlias = (
    Welcome
    | GuardWelcome
    | Renewed
    | Fenced
    | Standing
    | Command
    | StorageCommand
    | Read
    | Tidy
    | Clean
    | Peers
    | Controllers
    | Reported
    | ImagePiece
    | ImageTaken
)

_NO_MESSAGE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)  # the last for text that is not UTF-8
_encoder = msgspec.msgpack.Encoder()
_from_agent = msgspec.msgpack.Decoder(FromAgent)
_from_controller = msgspec.msgpack.Decoder(FromController)
_from_new_host = msgspec.msgpack.Decoder(Enrol)
_to_new_host = msgspec.msgpack.Decoder(ToNewHost)


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def decode_from_agent(frame: bytes) -> FromAgent:
    """Return the message that an agent or a guard sent; `Broken` when it is none."""
    try:
        message: FromAgent = _from_agent.decode(frame)
    except _NO_MESSAGE as error:
        raise Broken(f"a malformed message from a host: {error}") from error
    return message


def decode_from_controller(frame: bytes) -> FromController:
    """Return the message a controller sent; `Broken` when it is none."""
    try:
        message: FromController = _from_controller.decode(frame)
    except _NO_MESSAGE as error:
        raise Broken(f"a malformed message from a controller: {error}") from error
    return message


def decode_from_new_host(frame: bytes) -> Enrol:
    """Return what a new host sent at ENROL_PATH; `Broken` when it is no request to be enrolled."""
    try:
        return _from_new_host.decode(frame)
    except _NO_MESSAGE as error:
        raise Broken(f"a malformed message from a new host: {error}") from error


def decode_to_new_host(frame: bytes) -> ToNewHost:
    """Return a controller's answer at ENROL_PATH; `Broken` when it is none."""
    try:
        message: ToNewHost = _to_new_host.decode(frame)
    except _NO_MESSAGE as error:
        raise Broken(f"a malformed answer to a new host: {error}") from error
    return message
