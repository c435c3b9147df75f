"""Bugs of how a lease is renewed, at its host and at the controller that acknowledges it."""

import asyncio
from typing import Any

from renova.guard.lease import Lease
from renova.guard.service import Guard
from renova.hosts.leases import Leases
from renova.store import hosts as host_rows
from renova.wire.leases import Fenced, Renewed
from tests.simulation.planted.bugs import Patch, bug
from tests.simulation.planted.shapes import LEASES

DEAF = "disk of the database full, host isolated, line cut, line slow, message overtaken"


@bug("2", "the deadline counts from the acknowledgement's arrival", "renewed no_rush", "line, isolated", **LEASES)
def from_arrival(patch: Patch) -> None:
    def acknowledged(self: Lease, renewed: Renewed) -> bool:
        if (renewed.era, renewed.epoch) != (self.era, self.epoch):
            return False
        self._counter = max(self._counter, renewed.counter)
        if self._sent.pop(renewed.nonce, None) is None:
            return False
        self._heard_nonce, self.returning = max(self._heard_nonce, renewed.nonce), renewed.returning
        self.deadline = self._clock.boottime() + renewed.ttl
        return True

    patch.setattr(Lease, "acknowledged", acknowledged)


@bug("3", "any message moves the deadline", "renewed no_rush", "cut to the controller only, isolated", **LEASES)
def from_any_message(patch: Patch) -> None:
    heard = Guard._heard

    async def moved(self: Guard, session: Any, message: Any) -> None:
        self.lease.deadline = max(self.lease.deadline, self.lease._clock.boottime() + 5.0)
        await heard(self, session, message)

    patch.setattr(Guard, "_heard", moved)


def _answers(self: Leases, batch: list[Any]) -> None:
    """Acknowledge every renewal of the batch, whatever became of it."""
    for _, renewal, future in batch:
        if not future.done():
            answer = Renewed(
                nonce=renewal.nonce, era=renewal.era, epoch=renewal.epoch, counter=renewal.counter, ttl=self.times.ttl
            )
            future.set_result(answer)


@bug("4", "renewals are acknowledged before the commit", "renewed no_rush", DEAF, **LEASES)
def before_the_commit(patch: Patch) -> None:
    renew_all = Leases._renew_all

    async def early(self: Leases, batch: list[Any]) -> None:
        _answers(self, batch)
        await renew_all(self, batch)

    patch.setattr(Leases, "_renew_all", early)


@bug("5", "the whole batch is acknowledged", "renewed revoked", "isolated, frozen, line", **LEASES)
def whole_batch(patch: Patch) -> None:
    renew = Leases._renew

    def all_renewed(self: Leases, tx: Any, era: int, host: Any, renewal: Any, *, note: bool) -> Any:
        answer = renew(self, tx, era, host, renewal, note=note)
        if isinstance(answer, Fenced):
            return Renewed(
                nonce=renewal.nonce, era=renewal.era, epoch=renewal.epoch, counter=renewal.counter, ttl=self.times.ttl
            )
        return answer

    patch.setattr(Leases, "_renew", all_renewed)


@bug("6", "a commit of unknown outcome is taken as done", "renewed no_rush", DEAF, **LEASES)
def unknown_is_done(patch: Patch) -> None:
    renew_all = Leases._renew_all

    async def trusting(self: Leases, batch: list[Any]) -> None:
        kept = list(batch)
        deaf = self._deaf_at
        mine = [(host, renewal, asyncio.get_running_loop().create_future()) for host, renewal, _ in batch]
        await renew_all(self, mine)
        if self._deaf_at != deaf:
            self._deaf_at = deaf  # who takes it for done does not think himself deaf
            _answers(self, kept)
            return
        for (_, _, future), (_, _, told) in zip(kept, mine, strict=False):
            if not future.done():
                future.set_result(told.result())

    patch.setattr(Leases, "_renew_all", trusting)


@bug("7", "a renewal compares no epoch", "revoked", "isolated, frozen, line", **LEASES)
def no_epoch_compare(patch: Patch) -> None:
    def renew(self: Leases, tx: Any, era: int, host: Any, renewal: Any, *, note: bool) -> Any:
        lease = host_rows.lease(tx, host)
        if lease is None:
            return Fenced(epoch=renewal.epoch)
        host_rows.renew(tx, host, lease.epoch, lease.boot, self._me.id)
        counter = lease.counter + 1
        return Renewed(nonce=renewal.nonce, era=renewal.era, epoch=renewal.epoch, counter=counter, ttl=lease.ttl)

    patch.setattr(Leases, "_renew", renew)
