"""What the guard, the agent and the reader of one host tell each other, over channels that do not leave the host.

    guard → agent     Held, Over
    agent → guard     Beat, Registered
    guard → reader    Look
    reader → guard    Seen

The guard holds the lease; the agent asks it before it starts a guest. What the agent says can end a lease early or say
that nobody commands here now; it cannot prolong anything. The reader looks into the witness when it is told to.
"""

from typing import TypeAlias

from msgspec.msgpack import Decoder

from renova.model.guest import Count
from renova.model.ids import HostId
from renova.wire.frames import decoded
from renova.wire.message import Mark, Message, Text

BEAT_S = 2.0  # between two beats of an agent that has nothing new to say
MISSED_S = 5.0  # without a beat, after which the agent is taken for away: it hangs, or stands still


class Held(Message, frozen=True, kw_only=True, tag="held"):
    """The lease as it is now; said whenever that changes."""

    era: Count
    epoch: Count
    deadline: float  # on `Clock.boottime`, which is the same for both


class Over(Message, frozen=True, kw_only=True, tag="over"):
    """The lease of this epoch was revoked: whatever was begun under it must end, and the host register anew."""

    epoch: Count


class Beat(Message, frozen=True, kw_only=True, tag="beat"):
    """The agent goes on, and this controller is its home; "" while it has none."""

    home: Mark


class Registered(Message, frozen=True, kw_only=True, tag="registered"):
    """A controller has welcomed the agent under this lease."""

    era: Count
    epoch: Count


class Look(Message, frozen=True, kw_only=True, tag="look"):
    """The file of this lease is to be read, from now on: nothing that was read before."""

    nonce: Count
    host: HostId
    era: Count
    epoch: Count


class Seen(Message, frozen=True, kw_only=True, tag="seen"):
    """What was read after the look with this nonce came; no word: it could not be read."""

    nonce: Count
    word: Mark = ""
    revoked: bool = False
    why_not: Text = ""


FromGuard: TypeAlias = Held | Over
ToGuard: TypeAlias = Beat | Registered

_from_guard: Decoder[FromGuard] = Decoder(FromGuard)
_to_guard: Decoder[ToGuard] = Decoder(ToGuard)
_to_reader = Decoder(Look)
_from_reader = Decoder(Seen)


def decode_from_guard(frame: bytes) -> FromGuard:
    """Return what the guard said; `Broken` when it is no message."""
    return decoded(_from_guard, frame, "message from the guard")


def decode_to_guard(frame: bytes) -> ToGuard:
    """Return what the agent said; `Broken` when it is no message."""
    return decoded(_to_guard, frame, "message from the agent")


def decode_to_reader(frame: bytes) -> Look:
    """Return what the guard wants to be read; `Broken` when it is no message."""
    return decoded(_to_reader, frame, "message from the guard")


def decode_from_reader(frame: bytes) -> Seen:
    """Return what was read; `Broken` when it is no message."""
    return decoded(_from_reader, frame, "message from the reader of the witness")
