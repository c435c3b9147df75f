"""The host's lease, as its guard holds it.

The deadline counts from when the acknowledged renewal was sent, on a clock that runs in suspend, so it never lies
later than what the controllers believe. Nothing else moves it: no ping, no word of the agent, no late duplicate. Beyond
it a gate that is open may stay open by what the witness shows (`witnessed`), where the controllers have agreed to that.
"""

from renova.guard.witnessed import NEVER, Witnessed
from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.model.host import GuardClass
from renova.wire.leases import Renew, Renewed

REMEMBERED = 64  # renewals that were sent and may still be acknowledged
NONCES = 2**52  # from which each run of a guard begins anywhere: answers to a former run's renewals mean nothing to it


class Lease:
    """Deadline of the host's lease under one (era, epoch); under a new one it begins lapsed."""

    def __init__(self, clock: Clock, boot: str, chance: Chance, witnessed: Witnessed | None = None) -> None:
        self.witnessed = witnessed  # None: the guard goes by no witness
        self._clock = clock
        self._boot = boot
        self.era = 0
        self.epoch = 0
        self.deadline = NEVER  # on `Clock.boottime`
        self.returning = True  # the host is not in its place under this lease, as far as was acknowledged
        self.acknowledged_class: GuardClass | None = None  # what the newest acknowledged renewal said
        self._counter = 0
        self._nonce = int(chance.uniform(0, NONCES))
        self._heard_nonce = 0
        self._sent: dict[int, tuple[float, GuardClass, str]] = {}  # renewals that were not yet acknowledged

    def enter(self, era: int, epoch: int) -> bool:
        """Go on under this era and epoch, if they are higher than what it has; say whether they are."""
        if (era, epoch) <= (self.era, self.epoch):
            return False
        self.era, self.epoch = era, epoch
        self.lapse()
        return True

    def lapse(self) -> None:
        """Take the lease for lost: only a renewal sent from now on counts."""
        self._sent.clear()
        self._counter = self._heard_nonce = 0
        self.deadline = NEVER
        if self.witnessed is not None:
            self.witnessed.forget()
        self.returning = True
        self.acknowledged_class = None

    def renewal(self, guard: GuardClass, home: str, stops_in: float = 0.0) -> Renew:
        """Return the next renewal, to be sent at once: the time is taken before.

        `stops_in` says within how many seconds of the deadline a guard of this class has all stopped.
        """
        self._nonce += 1
        now = self._clock.boottime()
        word = self.witnessed.word if self.witnessed is not None else None
        self._sent[self._nonce] = now, guard, word or ""
        while len(self._sent) > REMEMBERED:
            del self._sent[next(iter(self._sent))]
        return Renew(
            nonce=self._nonce,
            boot=self._boot,
            era=self.era,
            epoch=self.epoch,
            counter=self._counter,
            guard=guard,
            stops_in=stops_in,
            clock=max(now, 0.0),
            home=home,
            witness=word,
        )

    def acknowledged(self, renewed: Renewed) -> bool:
        """Move the deadline if this answers a renewal of ours under our era and epoch; say whether it does."""
        if (renewed.era, renewed.epoch) != (self.era, self.epoch):
            return False
        self._counter = max(self._counter, renewed.counter)
        sent = self._sent.pop(renewed.nonce, None)
        if sent is None:
            return False
        at, guard, word = sent
        if renewed.nonce > self._heard_nonce:
            self._heard_nonce = renewed.nonce
            self.acknowledged_class = guard
            self.returning = renewed.returning
        self.deadline = max(self.deadline, at + renewed.ttl)
        if self.witnessed is not None:
            self.witnessed.agreed(word, renewed.witness)
        return True

    def trails(self, renewed: Renewed) -> bool:
        """Say whether this only tells how far the counter is: the next renewal, with that, will count."""
        return renewed.nonce not in self._sent and renewed.counter > self._counter

    @property
    def reached(self) -> tuple[int, int, int]:
        """How far this host knows the lease to be: era, epoch, and the counter that was last acknowledged."""
        return self.era, self.epoch, self._counter

    @property
    def heard(self) -> bool:
        """Whether the last renewal was acknowledged, and the lease has not lapsed since."""
        return 0 < self._nonce == self._heard_nonce

    def holds(self, for_s: float = 0.0) -> bool:
        """Say whether the deadline lies ahead, further than so many seconds."""
        return self._clock.boottime() + for_s < self.deadline

    @property
    def until(self) -> float:
        """Return until when (`Clock.boottime`) nobody takes this lease's end for the end of the guests."""
        return self.deadline if self.witnessed is None else max(self.deadline, self.witnessed.until)

    def may_open(self, for_s: float = 0.0) -> bool:
        """Say whether a gate that takes so long to open may be: till the deadline then, with the host in its place."""
        return self.holds(for_s) and not self.returning

    def may_stay_open(self) -> bool:
        """Say whether an open gate may stay so: the deadline lies ahead, or the witness shows no revocation."""
        return self._clock.boottime() < self.until and not self.returning
