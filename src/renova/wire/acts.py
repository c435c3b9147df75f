"""What a command may ask for: what should be of a server on a host."""

from typing import TypeAlias

import msgspec

from renova.model.guest import Count, Guest, LocalDisks, Nic, VolumeDisk, Way
from renova.model.ids import ImageId, PortId, VolumeId
from renova.wire.message import HostMark


class Act(msgspec.Struct, frozen=True, tag_field="act"):
    """What should be. Every act may be repeated."""


class Prepare(Act, frozen=True, tag="prepare"):
    """Have the guest's image, disks and config drive ready. `must_exist`: refuse unless its disks are here already.

    `or_newer`: where they are not, but those of a newer generation are, nothing is done, and the result says so.
    Result: Prepared.
    """

    guest: Guest
    must_exist: bool = False
    or_newer: bool = False


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
