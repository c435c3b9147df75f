"""What a host has to clean up after it was away, and how far that is."""

import msgspec

from renova.model.guest import Count
from renova.model.ids import ServerId
from renova.wire.message import Message


class Duty(msgspec.Struct, frozen=True):
    """What a returning host must clean up: guests of the server with an incarnation below `below`.

    Disks go only where `disks` says so: never on storage that the server's new host shares. With `aside` they are
    kept for some days, out of the way; else they are deleted, for the server is gone.
    """

    server: ServerId
    below: Count
    disks: bool
    aside: bool = False


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
