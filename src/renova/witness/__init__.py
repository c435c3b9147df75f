"""The witness: a directory on storage that controllers and armed hosts share, in which revoked leases are shown.

It is a second way for a host to learn that nobody has revoked its lease, while controllers or database are away. Each
lease has a file there, with a word in it that nobody can guess: who knows it has read that very file. Controllers write
(`hosts.witnessing`, `ha.revoking`); each host reads through a process of its own (`guard.reader`), for storage may hang
and the guard must not. Nobody needs anything of it but this: what was written before a read began is what is read.
"""

from typing import Protocol

import msgspec

from renova.model.ids import HostId


class LeaseName(msgspec.Struct, frozen=True):
    """Which lease of which host a file is about."""

    host: HostId
    era: int
    epoch: int


class Shown(msgspec.Struct, frozen=True):
    """What the file of a lease says."""

    word: str  # of this file, made by chance: the same lease's file, made once more, has another
    revoked: bool


class Witness(Protocol):
    """The directory, as one machine reaches it. Whatever goes wrong is `NotNow`: then nothing is known."""

    async def have(self, lease: LeaseName, word: str) -> Shown:
        """Have a file of this lease, with this word where there is none yet; return what is in it."""
        ...

    async def read(self, lease: LeaseName) -> Shown:
        """Return what is in the file, as it is in the storage while this is awaited: never what was cached before."""
        ...

    async def revoke(self, lease: LeaseName, word: str) -> None:
        """Have the file say that its lease is revoked: written, durable, and read back. For good: nobody takes it back.

        Only the file with this word: a directory in which it is another's, or missing, is not the one that the host
        reads.
        """
        ...
