"""The host's lease, as the host sees it: until when it may start guests without asking again.

The deadline counts from when the acknowledged renewal was sent, on a clock that runs in suspend, so it never lies
later than what the controllers believe. Nothing else moves it: no ping, no command, no duplicate.
"""

from renova.model.clock import Clock
from renova.model.errors import NotNow
from renova.wire import Renew, Renewed

REMEMBERED = 64  # renewals that were sent and may still be acknowledged


class Lease:
    """Deadline of the host's lease under one (era, epoch); under a new one it begins lapsed."""

    def __init__(self, clock: Clock, boot: str) -> None:
        self._clock = clock
        self._boot = boot
        self._era = 0
        self._epoch = 0
        self._counter = 0
        self._nonce = 0
        self._heard_nonce = 0
        self._sent: dict[int, float] = {}  # when each renewal left that was not yet acknowledged
        self.deadline = float("-inf")  # on `Clock.boottime`

    def enter(self, era: int, epoch: int) -> None:
        """Go on under this era and epoch; the deadline of others is worth nothing here."""
        if (era, epoch) != (self._era, self._epoch):
            self._era, self._epoch = era, epoch
            self.lapse()

    def lapse(self) -> None:
        """Take the lease for lost: only a renewal sent from now on counts."""
        self._sent.clear()
        self._counter = self._heard_nonce = 0
        self.deadline = float("-inf")

    def renewal(self) -> Renew:
        """Return the next renewal, to be sent at once: the time is taken before."""
        self._nonce += 1
        self._sent[self._nonce] = self._clock.boottime()
        while len(self._sent) > REMEMBERED:
            del self._sent[next(iter(self._sent))]
        return Renew(nonce=self._nonce, boot=self._boot, era=self._era, epoch=self._epoch, counter=self._counter)

    def acknowledged(self, renewed: Renewed) -> bool:
        """Move the deadline if this answers a renewal of ours under our era and epoch; say whether it does."""
        if (renewed.era, renewed.epoch) != (self._era, self._epoch):
            return False
        self._counter = max(self._counter, renewed.counter)
        sent = self._sent.pop(renewed.nonce, None)
        if sent is None:
            return False
        self._heard_nonce = max(self._heard_nonce, renewed.nonce)
        self.deadline = max(self.deadline, sent + renewed.ttl)
        return True

    def trails(self, renewed: Renewed) -> bool:
        """Say whether this only tells how far the counter is: the next renewal, with that, will count."""
        return renewed.nonce not in self._sent and renewed.counter > self._counter

    @property
    def reached(self) -> tuple[int, int, int]:
        """How far this host knows the lease to be: era, epoch, and the counter that was last acknowledged."""
        return self._era, self._epoch, self._counter

    @property
    def heard(self) -> bool:
        """Whether the last renewal was acknowledged, and the lease has not lapsed since."""
        return 0 < self._nonce == self._heard_nonce

    def must_hold(self) -> None:
        """Raise `NotNow` if the lease has lapsed: then no guest may be started."""
        if self._clock.boottime() >= self.deadline:
            raise NotNow("the host's lease has lapsed")
