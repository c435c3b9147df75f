"""What the witness has shown of the host's lease, and until when an open gate may stay open by it.

A read that shows no revocation says that nobody had ended the lease when that read began. So it counts from when it was
asked for, for as long as a renewal does; and only under a lease of which the controllers know that its guard goes by
the witness, and by which file: then none of them takes the end of the lease for the end of the guests (docs/safety.md).
"""

from renova.model.clock import Clock
from renova.model.ids import HostId
from renova.uplink.local import Look, Seen

NEVER = float("-inf")


class Witnessed:
    """What is known of one lease at a time. Nothing of a former run is known: it begins anew with its process."""

    def __init__(self, host: HostId, clock: Clock) -> None:
        self._host = host
        self._clock = clock
        self._nonce = 0
        self.forget()

    def forget(self) -> None:
        """Know nothing: another lease begins, or this one is over."""
        self.word = ""  # that was read in this lease's file
        self.revoked = False  # it was read, too
        self._asked: tuple[int, float] | None = None  # the look that was not answered yet, and when it was made
        self._read_at = NEVER  # when the newest look was made whose answer showed no revocation
        self._agreed = ""  # the word by which the controllers know that this guard goes
        self._counts_s = 0.0

    def look(self, era: int, epoch: int) -> Look:
        """Return a look to be sent at once: the time is taken before."""
        self._nonce += 1
        self._asked = self._nonce, self._clock.boottime()
        return Look(nonce=self._nonce, host=self._host, era=era, epoch=epoch)

    @property
    def waits(self) -> bool:
        """Say whether a look is not answered yet."""
        return self._asked is not None

    def seen(self, seen: Seen) -> None:
        """Take the answer to the newest look; others mean nothing."""
        if self._asked is None or seen.nonce != self._asked[0]:
            return
        _, at = self._asked
        self._asked = None
        if not seen.word:
            return
        self.word, self.revoked = seen.word, self.revoked or seen.revoked
        if not self.revoked:
            self._read_at = at

    def agreed(self, word: str, counts_s: float) -> None:
        """Controllers have acknowledged a renewal that said this word, and that its file may be gone by for so long."""
        if counts_s > 0:
            self._agreed, self._counts_s = word, counts_s

    @property
    def until(self) -> float:
        """Return until when (`Clock.boottime`) it is known that nobody has ended the lease."""
        if self.revoked or not self.word or self.word != self._agreed:
            return NEVER
        return self._read_at + self._counts_s
