"""Notices that another server has taken over, and puts all on hold unless it is known to have lost no commit.

What a standby lacked when it took over, nobody may live who remembers it. So it counts as lost, unless replication was
last seen to be synchronous: by the database itself, where that is noted while it is so, and what the standby has of it
tells how it was up to there; and by this controller, for a standby that was left behind has an old note. Judged in the
first transaction that meets another timeline, before anything else of that transaction is done.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from renova.store import cluster
from renova.store.cluster import Cluster
from renova.store.database import Tx

log = structlog.get_logger()

NOT_SYNCHRONOUS = "another server took over, and replication was not seen to be synchronous before"
BACK = "another server took over, whose data is a former one of before, or a copy"


@dataclass(frozen=True, slots=True)
class _Seen:
    """What this controller knows to be committed."""

    timeline: str = ""
    synchronous: bool = True
    era: int = 0


class DatabaseHistory:
    """One controller's knowledge of the database's timelines. Used in transactions; see `store.database.History`."""

    def __init__(
        self, connected: Callable[[], str], timeline: Callable[[Tx], str], synchronous: Callable[[Tx], bool]
    ) -> None:
        """`connected`: the timeline as it was known last, at no cost; the others ask the server itself."""
        self._connected = connected
        self._timeline = timeline
        self._synchronous = synchronous
        self._seen = _Seen()

    def begin(self, tx: Tx) -> None:
        """Judge a timeline that is new to this controller."""
        if self._connected() == self._seen.timeline:
            return
        now = self._timeline(tx)
        if now == self._seen.timeline:
            return
        known = cluster.get(tx)
        reason = _loss(known, self._seen, now)
        if reason is not None:
            whole = f"the database may have lost commits: {reason}. Nothing is given to hosts until "
            if cluster.begin_hold(tx, whole + "`renova database restored`"):
                log.critical("cluster on hold", reason=reason, timeline=now)
        self._note(tx, known, now)

    def agrees(self, tx: Tx) -> bool:
        """Say whether what is noted of the replication is so, and known here."""
        known = cluster.get(tx)
        now = _Seen(self._timeline(tx), self._synchronous(tx), self._seen.era)
        return now == self._seen == _Seen(known.timeline or "", known.synchronous is True, known.era)

    def note(self, tx: Tx) -> None:
        """Note, for whoever takes over, too, whether a failover could lose commits now."""
        self._note(tx, cluster.get(tx), self._timeline(tx))

    def _note(self, tx: Tx, known: Cluster, now: str) -> None:
        seen = _Seen(now, self._synchronous(tx), known.era)
        if (known.timeline, known.synchronous) != (seen.timeline, seen.synchronous):
            cluster.note_history(tx, seen.timeline, synchronous=seen.synchronous)
        tx.then(lambda: self._know(seen))

    def _know(self, seen: _Seen) -> None:
        self._seen = seen


def _loss(known: Cluster, seen: _Seen, now: str) -> str | None:
    """Say why commits may have been lost on the way to this timeline; None where none can."""
    if known.timeline not in (None, now):  # nobody has judged it yet
        if not _follows(now, known.timeline or ""):
            return BACK
        if not known.synchronous:
            return NOT_SYNCHRONOUS
    if seen.timeline and known.era <= seen.era:  # in a later era an operator has said to go on with it
        if not _follows(now, seen.timeline):
            return BACK
        if not seen.synchronous:
            return NOT_SYNCHRONOUS
    return None


def _follows(now: str, before: str) -> bool:
    """Say whether it is a later timeline of the same database: another one is a copy, of whatever age."""
    number, _, server = now.partition(" of ")
    former, _, same = before.partition(" of ")
    return server == same and int(number, 16) > int(former, 16)
