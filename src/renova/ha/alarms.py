"""Heeds alarms: what somebody outside says has failed. One controller at a time does it, by its post.

What was said is written down first (`raise_alarm`), and what came of it after each step; so whoever holds the post
next goes on. Alarms about hosts are followed to the end of what they led to; the others are done in one transaction.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import msgspec
import structlog

from renova.engine.executor import Executor
from renova.ha.ailing_servers import count_as_crashed
from renova.ha.attending import attend
from renova.ha.heed import GIVE_UP_S, Heeded, Known, Task, heed
from renova.ha.monitor import COUNTER, Monitor
from renova.ha.moves import MoveState, moves_of
from renova.ha.recovery import not_by_itself
from renova.model.alarm import Alarm, AlarmKind, AlarmStatus, Told
from renova.model.clock import later
from renova.model.errors import Conflict, Invalid, NotNow, Refused, whole
from renova.operations import compute_service
from renova.operations.cloud import Cloud
from renova.operations.evacuate import missing_proof
from renova.store import alarms, cluster, hosts, posts, recoveries, segments
from renova.store.database import Tx

log = structlog.get_logger()

POST = "alarms"
# Masakari's setting duplicate_notification_detection_interval: in which the same alarm is not taken twice.
SAME_WITHIN_S = 180.0
KEPT_S = 90 * 86_400.0  # for which alarms are kept that have come to their end
MOST_TOLD = 50  # lines that are kept of one alarm
_TASKS = {
    AlarmKind.HOST: Task.PROVE,
    AlarmKind.SERVER: "restart the server",
    AlarmKind.PROCESS: "switch the compute service",
}


def raise_alarm(
    cloud: Cloud, tx: Tx, *, kind: AlarmKind, host_name: str, generated_at: str, payload: dict[str, str], who: str
) -> Alarm:
    """Write down what somebody says has failed. `Invalid`, `Conflict`: it is not to be heeded."""
    place = segments.host_named(tx, host_name)
    if place is None:
        raise Invalid(f"Host with name {host_name} could not be found in any segment.")
    host = hosts.compute_host_named(tx, host_name)
    if host is None:
        raise Invalid(f"Compute host {host_name} could not be found.")
    if place.on_maintenance:
        raise Conflict(f"Notification about host {host_name} is not taken: the host is on maintenance.")
    since = later(generated_at, -SAME_WITHIN_S)
    for known in alarms.unheeded(tx):
        same = (known.segment_host, known.kind, known.payload) == (place.uuid, kind, payload)
        if same and known.status is not AlarmStatus.ERROR and known.generated_at >= since:
            raise Conflict(f"Notification about host {host_name} of type {kind} was taken already: {known.uuid}.")
    alarms.forget(tx, later(tx.now, -KEPT_S))
    lease = hosts.lease(tx, host.id)
    uuid = cloud.chance.uuid()
    alarms.add(
        tx,
        uuid=uuid,
        kind=kind,
        segment=place.segment,
        segment_host=place.uuid,
        host=host.id,
        host_name=host.name,
        generated_at=generated_at,
        payload=payload,
        epoch=lease.epoch if lease else 0,
        counter=lease.counter if lease else 0,
        who=who,
    )
    tx.then(lambda: log.warning("alarm", kind=kind, host=host_name, by=who, payload=payload))
    alarm = alarms.get(tx, uuid)
    assert alarm is not None
    return alarm


@dataclass(slots=True)
class Alarms:
    """One controller's part in it."""

    cloud: Cloud
    me: Executor
    monitor: Monitor

    async def serve(self) -> None:
        """Heed alarms until cancelled."""
        await attend(self.cloud, self.me, POST, self.look)

    async def look(self) -> None:
        """Take each alarm a step further; none while the cluster is on hold, or hosts were not listened to yet."""
        open_now = await self.cloud.database.read(lambda tx: [] if cluster.get(tx).hold else alarms.unheeded(tx))
        # Together: a power controller that is slow to answer holds up only its own host.
        await asyncio.gather(*(self._heed(alarm) for alarm in open_now))

    async def _heed(self, alarm: Alarm) -> None:
        if alarm.kind is AlarmKind.HOST and alarm.stopped:
            if self.cloud.hosts.settled:
                await self._heed_death(alarm)
            return
        try:
            await self.cloud.database.transact(lambda tx: self._heed_in_one_go(tx, alarm))
        except Refused as error:  # and undone: what it called for cannot be done to the server as it is
            reason = whole(error)
            await self.cloud.database.transact(lambda tx: self._note(tx, alarm, AlarmStatus.IGNORED, reason))

    # --- what is done in one go ---

    def _heed_in_one_go(self, tx: Tx, alarm: Alarm) -> None:
        status, message = _DISABLED
        if not _is_enabled(tx, alarm):
            self._note(tx, alarm, status, message)
        elif self._note(tx, alarm, AlarmStatus.RUNNING, "it is heeded"):  # first: nobody does it twice
            running = msgspec.structs.replace(alarm, status=AlarmStatus.RUNNING)
            match alarm.kind:
                case AlarmKind.SERVER:
                    status, message = count_as_crashed(self.cloud, tx, alarm)
                case AlarmKind.PROCESS:
                    status, message = self._switch(tx, alarm)
                case AlarmKind.HOST:
                    status, message = AlarmStatus.FINISHED, "the host is up when it renews its lease; nothing to do"
            self._note(tx, running, status, message)

    def _note(self, tx: Tx, alarm: Alarm, status: AlarmStatus, message: str) -> bool:
        """Note where the alarm stands, if nobody else has."""
        if not posts.holds(tx, POST, self.me.id):
            return False
        return alarms.move(tx, alarm, status, (Told(_TASKS[alarm.kind], tx.now, message),))

    def _switch(self, tx: Tx, alarm: Alarm) -> tuple[AlarmStatus, str]:
        """Have nothing new put on a host on which a process has failed, until that is back."""
        host = hosts.get(tx, alarm.host)
        if host is None:
            return AlarmStatus.IGNORED, "the host is not there any more"
        reason = f"process {alarm.payload['process_name']} has stopped"[:255]
        if alarm.stopped:
            done = compute_service.disable(self.cloud, tx, host, reason, alarm.who)
            return AlarmStatus.FINISHED, "the compute service is disabled" if done else "it was disabled already"
        if not host.disabled or host.disabled_reason != reason:
            return AlarmStatus.FINISHED, "the compute service was not disabled for this"
        if not compute_service.enable_unless_drained(self.cloud, tx, host):
            return AlarmStatus.FINISHED, "the compute service stays disabled: the host is being drained"
        return AlarmStatus.FINISHED, "the compute service is enabled again"

    # --- a host that is said to be dead ---

    async def _heed_death(self, alarm: Alarm) -> None:
        heeded, proof = await self.cloud.database.read(lambda tx: self._standing(tx, alarm))
        if heeded.seek:
            await self._seek(alarm)
            heeded, proof = await self.cloud.database.read(lambda tx: self._standing(tx, alarm))
        told = _news(alarm.told, heeded, alarm.status)
        if told is None and proof == alarm.proof:
            return

        def note(tx: Tx) -> None:
            if posts.holds(tx, POST, self.me.id):
                lines = (*alarm.told, Told(told.task, tx.now, told.message))[-MOST_TOLD:] if told else alarm.told
                alarms.move(tx, alarm, heeded.status, lines, proof=proof)

        await self.cloud.database.transact(note)

    def _standing(self, tx: Tx, alarm: Alarm) -> tuple[Heeded, int | None]:
        """Return where the alarm stands, and the proof of the host's death."""
        host = hosts.get(tx, alarm.host)
        if host is None:
            return Heeded(AlarmStatus.IGNORED, Task.PROVE, "the host is not there any more"), alarm.proof
        if not _is_enabled(tx, alarm):
            return Heeded(_DISABLED[0], Task.PROVE, _DISABLED[1]), alarm.proof
        now = hosts.proof(tx, host.id)
        proof = alarm.proof if alarm.proof is not None or now is None else now.id
        age_s = (datetime.fromisoformat(tx.now) - datetime.fromisoformat(alarm.created_at)).total_seconds()
        silent_s = self.cloud.hosts.leases.silent_for(host.id) or 0.0
        moves = [each.state for each in moves_of(tx, proof)] if proof is not None else []
        left, coming = "", False
        if now is not None and now.id == proof:
            left = not_by_itself(self.cloud, host) or ""
            coming = not left and bool(recoveries.unplanned(tx, [host.id], [now.id]))
        known = Known(
            age_s=age_s,
            heard=self.cloud.hosts.leases.alive(host.id),
            contradicts_after_s=self.cloud.settings.lease.suspect_after + self.cloud.settings.lease.renew,
            proven=proof is not None,
            why_no_proof=missing_proof(self.cloud, tx, host, silent_s) if proof is None else "",
            left=left,
            under_way=coming + sum(state in (MoveState.PENDING, MoveState.ONGOING) for state in moves),
            failed=moves.count(MoveState.FAILED),
            moved=moves.count(MoveState.SUCCEEDED),
        )
        return heed(known), proof

    async def _seek(self, alarm: Alarm) -> None:
        """Seek a proof of the host's death at once; take the word for it where the settings say that it counts."""
        if await self.monitor.seek(alarm.host) or not await self._counts_as_word(alarm):
            return
        try:
            who = f"{alarm.who} (notification {alarm.uuid})"
            await self.monitor.vouch(alarm.host, who, at_once=False, program=True)
        except (Refused, NotNow) as error:  # also when the host was removed a moment ago
            log.info("alarm not taken for a proof", host=alarm.host_name, reason=whole(error))

    async def _counts_as_word(self, alarm: Alarm) -> bool:
        """Say whether whoever raised the alarm is believed: if he says himself that he knows the host's state."""
        if not self.cloud.settings.masakari_notifications_vouch or alarm.payload.get("host_status") != "NORMAL":
            return False
        # What was said of one death says nothing of a silence after the host was well again, whoever saw it well.
        times = self.cloud.settings.lease
        few = (times.suspect_after + times.renew) / times.renew
        last = await self.cloud.database.read(partial(self._last_renewal, alarm))
        return last is not None and last[0] == alarm.epoch and last[1] <= alarm.counter + few

    def _last_renewal(self, alarm: Alarm, tx: Tx) -> tuple[int, int] | None:
        """Return epoch and counter of the host's last renewal; those from before it was cut off, if said before that.

        None while nothing is known of its silence.
        """
        silence = self.cloud.hosts.leases.silence(alarm.host)
        lease = silence.lease if silence is not None else None
        if lease is None or not lease.cut or alarm.epoch != lease.revoked:
            return (lease.epoch, lease.counter) if lease is not None else None
        cut = hosts.cut_proof(tx, alarm.host)
        return (lease.revoked, int(cut.readings[COUNTER])) if cut is not None else None


_DISABLED = AlarmStatus.IGNORED, "its failover segment is disabled"


def _is_enabled(tx: Tx, alarm: Alarm) -> bool:
    segment = segments.get(tx, alarm.segment)
    return segment is not None and segment.enabled


def _news(told: tuple[Told, ...], heeded: Heeded, status: AlarmStatus) -> Heeded | None:
    """Return what is new to be told; None where nothing is but numbers that change by themselves."""
    last = told[-1] if told else None
    if last is None or last.task != heeded.task or status is not heeded.status:
        return heeded
    # While it runs, a message has no numbers.
    return heeded if status is AlarmStatus.RUNNING and last.message != heeded.message else None


assert GIVE_UP_S < KEPT_S, "what is forgotten has come to its end"
