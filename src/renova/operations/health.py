"""Whether this controller should be given requests: what its health check tells load balancers."""

from dataclasses import dataclass

from renova.engine.executor import Executor
from renova.model.clock import Clock


@dataclass(slots=True)
class Health:
    """Goes by the lease: who could not renew it has no database, or was away itself."""

    clock: Clock
    me: Executor
    ending: bool = False  # told to end; what it is still asked, it answers

    def trouble(self) -> str | None:
        """Say why no requests should come here; None when they may."""
        if self.ending:
            return "this controller is ending"
        if self.me.leased_until == float("-inf"):
            return "this controller is not among the controllers of its cloud yet"
        if (lapsed_s := self.clock.monotonic() - self.me.leased_until) > 0:
            return f"the database has not confirmed this controller in time, for {lapsed_s:.0f} s now"
        return None
