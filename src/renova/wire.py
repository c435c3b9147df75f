"""The messages between controller and host, and their encoding. Both ends import this; neither owns it.

A host has two processes, and each holds one TLS WebSocket to each controller, with the host's client certificate, at
PATH; which of them speaks follows from its first message. Any connection of the agent carries commands; one is home,
and carries reports of guests (`agent.home`). The guard has a home of its own, over which it renews the host's lease
(`guard.home`). Every frame is one message, msgpack-encoded, tagged by its kind; unknown kinds and malformed frames end
the connection. New fields have defaults, so that neighbours of different releases understand each other.

    guard → controller    GuardHello, Renew
    controller → guard    GuardWelcome, Renewed, Fenced, Peers, Controllers
    agent → controller    Hello, Answer, Report, Cleaned, NotCleaned, WantImage, ImageBytes
    controller → agent    Welcome, Fenced, Standing, Command, StorageCommand, Read, Tidy, Clean, Peers,
                          Controllers, Reported, ImagePiece, ImageTaken

A host speaks only for itself: whose message it is follows from the certificate of the connection, never from its text.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from renova.model.errors import Broken
from renova.model.guest import (
    Aside,
    CachedImage,
    Count,
    Departure,
    FoundDevices,
    FoundGuest,
    Guest,
    GuestChanged,
    HostFacts,
    LocalDisks,
    Nic,
    VolumeDisk,
    Way,
)
from renova.model.ids import ImageId, PortId, ServerId, SnapshotId, VolumeId
from renova.model.sighting import Heart
from renova.model.storage import Export, StorageFacts, WantedVolume

PATH = "/host"
ENROL_PATH = "/enrol"
MAX_FRAME = 4 * 1024 * 1024  # bytes; images travel in pieces of at most 1 MiB


MOST_GUESTS = 10_000  # of a host
MOST_SOUGHT = 1_000  # hosts that one is asked about
Text = Annotated[str, Meta(max_length=1024)]
Mark = Annotated[str, Meta(max_length=64, pattern="^[ -~]*$")]  # an id, an address, a digest
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
HostMark = Annotated[str, Meta(max_length=36, pattern="^[0-9a-f-]*$")]  # a `HostId`, good as the name of a file
Interval = Annotated[float, Meta(ge=0.05, le=86_400)]  # in seconds, after which something is done again: never at once


class Message(msgspec.Struct, frozen=True, tag_field="kind", kw_only=True):
    """What both directions share: the tag."""


# --- enrolment: once, over a connection without client certificate --------------------------------------------------


class JoinToken(msgspec.Struct, frozen=True):
    """What an operator hands to a new host: where controllers are, whom to trust, and a secret good for one host."""

    controllers: tuple[str, ...]  # host:port
    ca: str  # PEM: the controllers' certificates must be signed by it
    secret: str


class Enrol(Message, frozen=True, kw_only=True, tag="enrol"):
    """A new host asks for its certificate."""

    secret: Text
    name: Text
    request: Annotated[
        str, Meta(max_length=16_384)
    ]  # PEM of a certificate signing request; the private key never leaves the host


class Enrolled(Message, frozen=True, kw_only=True, tag="enrolled"):
    """The host's identity from now on."""

    host: str
    certificate: str  # PEM
    ca: str


class NotEnrolled(Message, frozen=True, kw_only=True, tag="not-enrolled"):
    """Why not, and what to do."""

    reason: str


# --- the host's life: registration and lease ------------------------------------------------------------------------


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """An agent introduces its host: what booted, what it has, and the highest numbers it ever obeyed."""

    name: Text
    address: Mark  # on the underlay, for tunnels
    boot: Mark  # changes with every boot of the host
    journal: Mark  # changes when the agent's journal was lost
    era: Count  # highest seen, 0 for none
    epoch: Count  # of the host's lease, highest seen
    facts: HostFacts
    guests: Annotated[tuple[FoundGuest, ...], Meta(max_length=MOST_GUESTS)]
    role: Literal["compute", "storage"] = "compute"
    storage: StorageFacts | None = None  # of a storage host
    system: Mark = ""  # the machine's UUID as its firmware tells it; "" where it tells none


class Duty(msgspec.Struct, frozen=True):
    """What a returning host must clean up: guests of the server with an incarnation below `below`.

    Disks go only where `disks` says so: never on storage that the server's new host shares. With `aside` they are
    kept for some days, out of the way; else they are deleted, for the server is gone.
    """

    server: ServerId
    below: Count
    disks: bool
    aside: bool = False


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    """The host's place: era, lease, and what it has to do before it is up."""

    host: Text
    session: Mark  # commands of this connection carry it
    era: Count
    epoch: Count
    ttl: Seconds  # seconds
    renew: Interval  # seconds between renewals
    duties: tuple[Duty, ...]
    peers: tuple[str, ...]
    forced_down: bool = False
    controller: Mark = ""  # who welcomes: one run of a controller
    controllers: tuple[str, ...] = ()  # host:port of all agents' ports; none: not known


class GuardHello(Message, frozen=True, kw_only=True, tag="guard-hello"):
    """A guard introduces its host, and says the highest era and epoch that it has ever kept its lease under."""

    name: Text
    boot: Mark
    era: Count  # 0 for none
    epoch: Count


class GuardTimes(msgspec.Struct, frozen=True):
    """What the controllers allow for, against which a guard checks what it has (settings.LeaseTimes)."""

    stop_budget: float  # seconds from the deadline until nothing of the host runs
    drift: float  # share by which its clock may be wrong


class GuardWelcome(Message, frozen=True, kw_only=True, tag="guard-welcome"):
    """The guard may renew over this connection. Under which lease, `Fenced` tells it: this is no renewal."""

    controller: Mark  # one run of a controller
    renew: Interval  # seconds between renewals
    times: GuardTimes
    peers: tuple[str, ...] = ()
    controllers: tuple[str, ...] = ()


class Renew(Message, frozen=True, kw_only=True, tag="renew"):
    """The host asks for its lease to be prolonged; the deadline will count from when this was sent."""

    nonce: Count
    boot: Mark
    era: Count
    epoch: Count
    counter: Count  # last heard
    guard: Annotated[str, Meta(max_length=8, pattern="^[A-Za-z]*$")] = "none"  # a `GuardClass`, as it is now
    clock: float = 0.0  # the guard's clock as this was sent; 0: not told
    home: Mark | None = None  # the controller that the agent calls home, "": the agent is away; None: who sends this
    witness: Mark | None = None  # the word that the guard has read in the witness, "": none yet; None: it reads none


class Renewed(Message, frozen=True, kw_only=True, tag="renewed"):
    """The renewal with this nonce is committed."""

    nonce: Count
    era: Count
    epoch: Count
    counter: Count
    ttl: Seconds
    returning: bool = False  # the host is not in its place yet: an armed guard keeps its gate closed
    witness: Annotated[float, Meta(ge=0, le=86_400)] = 0.0  # seconds for which a read of the witness counts; 0: none


class Fenced(Message, frozen=True, kw_only=True, tag="fenced"):
    """The lease was revoked: this epoch is over. A host that is not beyond it must stop acting and say hello again.

    To a guard it says which lease the host has now. There is none while `next_epoch` is 0: then its agent has to
    register the host first, for it has booted, or is proven dead.
    """

    epoch: Count
    next_era: Count = 0
    next_epoch: Count = 0


class Standing(Message, frozen=True, kw_only=True, tag="standing"):
    """Whether an operator has forced the host down: then it starts no guest until that is taken back."""

    forced_down: bool


class Clean(Message, frozen=True, kw_only=True, tag="clean"):
    """A duty that came up while the host was connected."""

    duty: Duty


class Cleaned(Message, frozen=True, kw_only=True, tag="cleaned"):
    """A duty is done, as it was told."""

    duty: Duty


class NotCleaned(Message, frozen=True, kw_only=True, tag="not-cleaned"):
    """What keeps a duty from being done; the host goes on trying."""

    server: ServerId
    below: Count
    reason: str


class Peers(Message, frozen=True, kw_only=True, tag="peers"):
    """All other ends of the tunnels between hosts, replacing what was told before."""

    addresses: tuple[str, ...]


class Controllers(Message, frozen=True, kw_only=True, tag="controllers"):
    """Where agents reach the controllers that live, replacing what was told before."""

    addresses: tuple[str, ...]  # host:port


class Report(Message, frozen=True, kw_only=True, tag="report"):
    """Guests changed by themselves. Sent until it is answered with Reported, perhaps to another controller."""

    changes: Annotated[tuple[GuestChanged, ...], Meta(max_length=MOST_GUESTS)]
    id: int = 0  # 0: no answer is wanted


class Reported(Message, frozen=True, kw_only=True, tag="reported"):
    """What the report says is in the database, as far as it counts."""

    id: int


# --- commands -------------------------------------------------------------------------------------------------------


class Order(msgspec.Struct, frozen=True):
    """Where a command stands. The agent refuses it if any member is below what it has seen for this server or host."""

    era: Count
    host_epoch: Count
    session: Mark
    server: ServerId
    incarnation: Count
    number: Count  # of the operation; a higher one stops the running step of a lower one
    epoch: Count  # of the operation's executor


class Act(msgspec.Struct, frozen=True, tag_field="act"):
    """What should be. Every act may be repeated."""


class Prepare(Act, frozen=True, tag="prepare"):
    """Have the guest's image, disks and config drive ready. `must_exist`: refuse unless its disks are here already.

    Result: Prepared.
    """

    guest: Guest
    must_exist: bool = False


class Start(Act, frozen=True, tag="start"):
    """Have the guest running, its nics plugged; its disks are ready. A running guest of this incarnation is left so.

    `resume`: it goes on from the memory that Suspend saved, where that is here; else, as always, it boots.
    `arrived`: it goes on where it stood, if that incarnation has arrived here with its memory; likewise.
    Result: State.
    """

    guest: Guest
    resume: bool = False
    arrived: Count = 0


class Define(Act, frozen=True, tag="define"):
    """Have the guest defined, with its nics, and off. Result: State."""

    guest: Guest


class SoftReboot(Act, frozen=True, tag="soft-reboot"):
    """Ask the running guest to shut down and start it again; Rebooted(False) when it did not heed in time.

    One that this operation has started already is left so: a guest is rebooted once, however often it is asked for.
    """

    guest: Guest
    wait_s: float


class Stop(Act, frozen=True, tag="stop"):
    """Have the guest off; it is asked first, and forced after `wait_s` (0: forced at once). Result: State.

    `restarts`: the same operation starts it again next; if it has done so already, the guest is left running.
    """

    wait_s: float
    restarts: bool = False


class Pause(Act, frozen=True, tag="pause"):
    """Have the running guest stand still, with its memory kept. One that is off stays off. Result: State."""


class Unpause(Act, frozen=True, tag="unpause"):
    """Have the guest that stands still go on. One that is off stays off. Result: State."""


class Suspend(Act, frozen=True, tag="suspend"):
    """Have the guest's memory saved on this host, and the guest off. Result: Saved."""


class Snapshot(Act, frozen=True, tag="snapshot"):
    """Have a copy of the server's root disk here, as it is at one moment, under the image's name.

    It is one qcow2 file that needs no other. A guest that runs goes on meanwhile. Result: Copied.
    """

    image: ImageId
    disks: LocalDisks


class Upload(Act, frozen=True, tag="upload"):
    """Send the copy to the controller that asks, over the connection by which it asks. Result: Copied."""

    image: ImageId


class DropSnapshot(Act, frozen=True, tag="drop-snapshot"):
    """Have no copy, nor half of one, under the image's name. Result: State."""

    image: ImageId


class Expect(Act, frozen=True, tag="expect"):
    """Have this host ready for the guest to arrive with its memory: its nics plugged, the way open, nothing of it here.

    It arrives standing still. Nothing of this host's makes it go on but a Start of an incarnation of its own.
    Result: Expected.
    """

    guest: Guest
    source: HostMark


class TurnAway(Act, frozen=True, tag="turn-away"):
    """Have the guest not expected, and nothing here of what arrived. Burns nothing. Result: State(None)."""


class Depart(Act, frozen=True, tag="depart"):
    """Have the guest leave with its memory, and return when it has, when it cannot, or after `wait_s`: it goes on then.

    `hurry`: it stands still meanwhile, so that nothing of its memory changes any more. The incarnation is burnt with
    the answer that it has left, so that is a release; it may still be asked for then. Result: Departing.
    """

    to: Way
    wait_s: float
    hurry: bool = False


class Stay(Act, frozen=True, tag="stay"):
    """Have the guest not be leaving, but go on here, unless it has left: then it is burnt, too. Result: Departing."""


class DropDisks(Act, frozen=True, tag="drop-disks"):
    """Delete the server's disks here except those of the generation `keep`. Result: State(None)."""

    keep: int | None


class AttachVolume(Act, frozen=True, tag="attach-volume"):
    """Have the guest, if it runs, have this volume as a disk. Result: State."""

    disk: VolumeDisk


class DetachVolume(Act, frozen=True, tag="detach-volume"):
    """Have the guest, if it runs, have let go of this volume, asking it for `wait_s`. Result: LetGo."""

    volume: VolumeId
    wait_s: float


class AttachNic(Act, frozen=True, tag="attach-nic"):
    """Have the guest, if it runs, have this nic, plugged. Result: State."""

    nic: Nic


class DetachNic(Act, frozen=True, tag="detach-nic"):
    """Have the guest, if it runs, have let go of this nic, asking it for `wait_s`; then unplug it. Result: LetGo."""

    port: PortId
    mac: str
    wait_s: float


class Remove(Act, frozen=True, tag="remove"):
    """Have nothing of the server here: guest, definition, nics, and disks where `disks`. Burns the incarnation.

    No command of it or of a lower one is obeyed any more, but this one, `DropSnapshot` and `Depart`.
    Result: State(None).
    """

    disks: bool


AnyAct: TypeAlias = (
    Prepare
    | Start
    | Define
    | SoftReboot
    | Stop
    | Pause
    | Unpause
    | Suspend
    | Snapshot
    | Upload
    | DropSnapshot
    | Expect
    | TurnAway
    | Depart
    | Stay
    | DropDisks
    | AttachVolume
    | DetachVolume
    | AttachNic
    | DetachNic
    | Remove
)


class Prepared(msgspec.Struct, frozen=True, tag="prepared"):
    """Whether disks were made now, or all were there."""

    made: bool


class Rebooted(msgspec.Struct, frozen=True, tag="rebooted"):
    """Whether the guest restarted by itself."""

    done: bool


class Copied(msgspec.Struct, frozen=True, tag="copied"):
    """The size of a copy in bytes."""

    size: int


class Saved(msgspec.Struct, frozen=True, tag="saved"):
    """Whether the guest's memory is saved here; not when it was off before."""

    done: bool


class LetGo(msgspec.Struct, frozen=True, tag="let-go"):
    """Whether the guest has let go of the device."""

    done: bool


class Expected(msgspec.Struct, frozen=True, tag="expected"):
    """The way by which the guest is expected."""

    way: Way


class Departing(msgspec.Struct, frozen=True, tag="departing"):
    """How far the guest is."""

    departure: Departure


class State(msgspec.Struct, frozen=True, tag="state"):
    """The guest as it is after the act; None when there is none."""

    guest: FoundGuest | None


class ConsoleText(msgspec.Struct, frozen=True, tag="console"):
    """The end of a guest's console log."""

    text: bytes


class Guests(msgspec.Struct, frozen=True, tag="guests"):
    """The guests that the host has, whoever started them."""

    guests: tuple[FoundGuest, ...]


class Devices(msgspec.Struct, frozen=True, tag="devices"):
    """The devices that the guest has."""

    devices: FoundDevices


class Tidied(msgspec.Struct, frozen=True, tag="tidied"):
    """The names of the cached images that were deleted."""

    dropped: tuple[str, ...]


class Asides(msgspec.Struct, frozen=True, tag="asides"):
    """The disks that the host has set aside."""

    asides: tuple[Aside, ...]


class Stored(msgspec.Struct, frozen=True, tag="stored"):
    """The names that the thing is served under now: those that were wanted."""

    exports: tuple[Export, ...] = ()


class Sighted(msgspec.Struct, frozen=True, tag="sighted"):
    """The addresses at which a machine answers, of those that were asked for."""

    addresses: tuple[str, ...]


class Heard(msgspec.Struct, frozen=True, tag="heard"):
    """The heartbeats that were found on the storage, of those that were asked for."""

    hearts: Annotated[tuple[Heart, ...], Meta(max_length=MOST_SOUGHT)]


Result: TypeAlias = (
    Prepared
    | Rebooted
    | Copied
    | LetGo
    | Saved
    | Expected
    | Departing
    | State
    | ConsoleText
    | Asides
    | Guests
    | Devices
    | Tidied
    | Stored
    | Sighted
    | Heard
)


RESULTS: Mapping[type[Act], type[Result]] = {
    Prepare: Prepared,
    SoftReboot: Rebooted,
    Suspend: Saved,
    Snapshot: Copied,
    Upload: Copied,
    DetachVolume: LetGo,
    DetachNic: LetGo,
    Expect: Expected,
    Depart: Departing,
    Stay: Departing,
    **dict.fromkeys(
        (Start, Define, Stop, Pause, Unpause, DropSnapshot, TurnAway, DropDisks, AttachVolume, AttachNic, Remove),
        State,
    ),
}


class Command(Message, frozen=True, kw_only=True, tag="command"):
    """Do this, for the operation that `order` names."""

    id: int  # rises with every command of the connection: what is not above all before is not done
    order: Order
    act: AnyAct


class StorageOrder(msgspec.Struct, frozen=True):
    """Where a storage command stands. The agent refuses it if any member is below what it has seen for this thing or
    host."""

    era: Count
    host_epoch: Count
    session: Mark
    thing: VolumeId | SnapshotId
    version: Count  # of what is wanted of the thing; only rises


class HaveVolume(Act, frozen=True, tag="have-volume"):
    """Have the volume, served under exactly the names it says and none else. Result: Stored."""

    want: WantedVolume


class DropVolume(Act, frozen=True, tag="drop-volume"):
    """Have the volume served to nobody and gone. Result: Stored."""


class HaveVolumeSnapshot(Act, frozen=True, tag="have-volume-snapshot"):
    """Have a snapshot of the volume as it is at one moment of this act, served or not. Result: Stored."""

    volume: VolumeId


class DropVolumeSnapshot(Act, frozen=True, tag="drop-volume-snapshot"):
    """Have the snapshot gone. Result: Stored."""


StorageAct: TypeAlias = HaveVolume | DropVolume | HaveVolumeSnapshot | DropVolumeSnapshot


class StorageCommand(Message, frozen=True, kw_only=True, tag="storage-command"):
    """Have a volume or a snapshot as the act says."""

    id: int
    order: StorageOrder
    act: StorageAct


class ReadConsole(Act, frozen=True, tag="read-console"):
    """Give the last `limit` bytes of the server's console log."""

    server: ServerId
    limit: int


class ReadAsides(Act, frozen=True, tag="read-asides"):
    """List the disks that were set aside."""


class ListGuests(Act, frozen=True, tag="list-guests"):
    """List the guests that are here."""


class ReadGuest(Act, frozen=True, tag="read-guest"):
    """Say how the server's guest is. Result: State."""

    server: ServerId


class ReadDevices(Act, frozen=True, tag="read-devices"):
    """Say which devices the server's guest has. Result: Devices."""

    server: ServerId


class LookFor(Act, frozen=True, tag="look-for"):
    """Say at which of these addresses on the underlay a machine answers. Result: Sighted."""

    addresses: tuple[str, ...]


class ListenFor(Act, frozen=True, tag="listen-for"):
    """Say whether the heartbeats of these hosts go on, which share their instances directory with it. Result: Heard."""

    hosts: Annotated[tuple[HostMark, ...], Meta(max_length=MOST_SOUGHT)]


Question: TypeAlias = ReadConsole | ReadAsides | ListGuests | ReadGuest | ReadDevices | LookFor | ListenFor


class Tidy(Message, frozen=True, kw_only=True, tag="tidy"):
    """Delete cached images that no server uses; those wanted within `grace_s` stay. Result: Tidied."""

    id: int
    in_use: tuple[CachedImage, ...]  # by servers of all hosts that share the instances directory
    grace_s: float


class Read(Message, frozen=True, kw_only=True, tag="read"):
    """A question that changes nothing and needs no right."""

    id: int
    what: Question


class Answer(Message, frozen=True, kw_only=True, tag="answer"):
    """How a command or a question ended: a result, or why not.

    `refused`: it can never work. `stale`: a newer order is known here. `not_now`: try again. Else: a fault of the host.
    """

    id: int
    result: Result | None = None
    error: str | None = None
    why: str = ""  # "", refused, stale, not_now, storage_away, broken


class WantImage(Message, frozen=True, kw_only=True, tag="want-image"):
    """The agent asks for a piece of an image from `offset` on."""

    id: int
    image: ImageId
    offset: Count


class ImagePiece(Message, frozen=True, kw_only=True, tag="image-piece"):
    """The next bytes; empty at the image's end, or with the reason why there are none.

    `why` as in Answer: `refused` when the image is not to be had; else the agent asks again, perhaps elsewhere.
    """

    id: int
    data: bytes = b""
    error: str | None = None
    why: str = ""


class ImageBytes(Message, frozen=True, kw_only=True, tag="image-bytes"):
    """The agent sends the next bytes of an image that Upload asked it for; empty, with the sum of all, at the end."""

    id: int
    image: ImageId
    offset: Count
    data: bytes = b""
    sha256: Mark = ""


class ImageTaken(Message, frozen=True, kw_only=True, tag="image-taken"):
    """The bytes are taken, and the next may come; or why they are not. `why` as in Answer."""

    id: int
    error: str | None = None
    why: str = ""


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
ToNewHost: TypeAlias = Enrolled | NotEnrolled

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
