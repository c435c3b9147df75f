"""Frames: how a message becomes bytes and is read again, and by which end it may be said."""

from typing import TypeAlias, TypeVar

from msgspec import DecodeError
from msgspec.msgpack import Decoder, Encoder

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

T = TypeVar("T")

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

_NO_MESSAGE = (DecodeError, RecursionError, UnicodeDecodeError)  # the last for text that is not UTF-8
_encoder = Encoder()
_from_agent: Decoder[FromAgent] = Decoder(FromAgent)
_from_controller: Decoder[FromController] = Decoder(FromController)
_from_new_host = Decoder(Enrol)
_to_new_host: Decoder[ToNewHost] = Decoder(ToNewHost)


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def decoded(decoder: Decoder[T], frame: bytes, what: str) -> T:
    """Return what the decoder finds in the frame; `Broken`, which calls it a malformed `what`, when that is nothing."""
    try:
        return decoder.decode(frame)
    except _NO_MESSAGE as error:
        raise Broken(f"a malformed {what}: {error}") from error


def decode_from_agent(frame: bytes) -> FromAgent:
    """Return the message that an agent or a guard sent; `Broken` when it is none."""
    return decoded(_from_agent, frame, "message from a host")


def decode_from_controller(frame: bytes) -> FromController:
    """Return the message a controller sent; `Broken` when it is none."""
    return decoded(_from_controller, frame, "message from a controller")


def decode_from_new_host(frame: bytes) -> Enrol:
    """Return what a new host sent at ENROL_PATH; `Broken` when it is no request to be enrolled."""
    return decoded(_from_new_host, frame, "message from a new host")


def decode_to_new_host(frame: bytes) -> ToNewHost:
    """Return a controller's answer at ENROL_PATH; `Broken` when it is none."""
    return decoded(_to_new_host, frame, "answer to a new host")
