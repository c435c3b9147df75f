"""What is seen of a host that is not heard: evidence of its life by another way, and proof of nothing."""

import msgspec

from renova.model.guest import Count
from renova.model.ids import HostId


class Heart(msgspec.Struct, frozen=True):
    """What a host that shares another's storage read there of its heartbeat, twice; equal numbers: it did not beat."""

    host: HostId
    first: Count
    second: Count

    @property
    def beats(self) -> bool:
        return self.second > self.first


class Sighting(msgspec.Struct, frozen=True):
    """What others have seen of a host of late; None: nobody was there to look."""

    answers: bool | None = None  # on the underlay
    heart: Heart | None = None
    by: str = ""  # who read that

    @property
    def alive(self) -> bool | None:
        """Say whether it is seen to live; None where nobody could look.

        Where hosts share storage the heartbeat alone says it: a kernel answers for a host on which nothing else works.
        """
        return self.answers if self.heart is None else self.heart.beats

    @property
    def readings(self) -> dict[str, str]:
        """What was seen, for a certificate."""
        said = {}
        if self.answers is not None:
            said["other_hosts"] = "see it" if self.answers else "do not see it"
        if self.heart is not None:
            how = f"rose from {self.heart.first} to" if self.heart.beats else "stays at"
            said["heartbeat"] = f"{how} {self.heart.second}, as {self.by} reads it"
        return said
