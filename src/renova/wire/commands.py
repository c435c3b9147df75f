"""Commands of operations, and the answers to these and all that is asked."""

from collections.abc import Mapping

import msgspec

from renova.model.guest import Count
from renova.model.ids import ServerId
from renova.wire.acts import (
    Act,
    AnyAct,
    AttachNic,
    AttachVolume,
    Define,
    Depart,
    DetachNic,
    DetachVolume,
    DropDisks,
    DropSnapshot,
    Expect,
    Pause,
    Prepare,
    Remove,
    Snapshot,
    SoftReboot,
    Start,
    Stay,
    Stop,
    Suspend,
    TurnAway,
    Unpause,
    Upload,
)
from renova.wire.message import Mark, Message
from renova.wire.results import Copied, Departing, Expected, LetGo, Prepared, Rebooted, Result, Saved, State


class Order(msgspec.Struct, frozen=True):
    """Where a command stands. The agent refuses it if any member is below what it has seen for this server or host."""

    era: Count
    host_epoch: Count
    session: Mark
    server: ServerId
    incarnation: Count
    number: Count  # of the operation; a higher one stops the running step of a lower one
    epoch: Count  # of the operation's executor


class Command(Message, frozen=True, kw_only=True, tag="command"):
    """Do this, for the operation that `order` names."""

    id: int  # rises with every command of the connection: what is not above all before is not done
    order: Order
    act: AnyAct


class Answer(Message, frozen=True, kw_only=True, tag="answer"):
    """How a command or a question ended: a result, or why not.

    `refused`: it can never work. `stale`: a newer order is known here. `not_now`: try again. Else: a fault of the host.
    """

    id: int
    result: Result | None = None
    error: str | None = None
    why: str = ""  # "", refused, stale, not_now, storage_away, broken
    details: str = ""  # of the error, for operators only: addresses, paths, what a program said


# What each act of a command comes out as, where it works.
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
