"""Brings the servers of hosts that were proven dead up elsewhere, without anybody's command.

One controller at a time does it, by its post. All that it has decided is in the database (`store.recoveries`): whoever
holds the post next goes on. There is one plan for all servers of all dead hosts (`ha.plan`), made anew whenever a host
dies; a server is evacuated when it is its turn, by the operation that an operator would ask for, which looks at the
proof again. What could not be recovered is planned for again now and then: room may have appeared.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from dataclasses import replace as with_other
from typing import Any

import msgspec
import structlog

from renova.engine.executor import Executor
from renova.ha.again import again_at
from renova.ha.attending import attend
from renova.ha.monitor import PROVEN_AFTER
from renova.ha.picture import FleetView
from renova.ha.plan import Outcome, Plan, Step, plan
from renova.ha.segments import call_up
from renova.ha.survey import expected_times, limits, take_picture
from renova.ha.turns import whose_turn
from renova.ha.wishes import Policy
from renova.model.clock import later
from renova.model.errors import Refused, whole
from renova.model.guest import PowerState
from renova.model.host import Host, Proof
from renova.model.ids import HostId, ServerId
from renova.model.place import Place
from renova.model.recovery import AGAIN, Recovery, RecoveryState
from renova.model.server import VmState
from renova.operations.cloud import Cloud
from renova.operations.evacuate import Evacuation, accept_evacuate
from renova.operations.heal_ports import have_ports_follow
from renova.operations.parts.state import get_server
from renova.operations.submission import for_owner
from renova.store import cluster, hosts, migrations, posts, recoveries, rights, servers
from renova.store.database import Tx

log = structlog.get_logger()

POST = "recovery"


class Death(msgspec.Struct, frozen=True):
    """A host whose servers are to be recovered, or those that storage cuts off, and why."""

    host: Host
    proof: Proof


class Agenda(msgspec.Struct, frozen=True):
    """What there is to do."""

    deaths: dict[HostId, Death]
    unsettled: list[Recovery]
    to_plan: bool

    def __bool__(self) -> bool:
        return bool(self.deaths or self.unsettled)


@dataclass(slots=True)
class Recoverer:
    """One controller's part in it."""

    cloud: Cloud
    me: Executor
    inline: int = 200  # servers up to which a plan is made without a thread: it takes less than others notice
    # Of its own: those that all share may all hang, as with the storage of images.
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "plan"))
    # Which the last plan had nothing to say of, under which proofs: nothing can be done about them yet.
    _passed_over: frozenset[ServerId] = frozenset()
    _passed_proofs: frozenset[int] = frozenset()
    _passed_until: float = -math.inf  # monotonic, when they are looked at again

    async def serve(self) -> None:
        """Recover until cancelled."""
        if self.cloud.settings.recovery.automatic:
            await attend(self.cloud, self.me, POST, self.look)

    async def look(self) -> None:
        """Follow what is under way, plan for what is new, and begin what has its turn."""
        agenda = await self.cloud.database.read(self._agenda)
        if not agenda:
            return
        await self._follow(agenda)
        if agenda.to_plan and self.cloud.hosts.settled:
            await self._plan()
        unsettled = await self.cloud.database.read(recoveries.unsettled)
        # Whoever waits until nobody is at work at its host any more takes nobody's place meanwhile.
        able = [each for each in unsettled if each.state is RecoveryState.MOVING or each.host in agenda.deaths]
        turns = whose_turn(able, limits(self.cloud.settings.recovery))
        await asyncio.gather(*(self._begin(each) for each in turns))

    def _agenda(self, tx: Tx) -> Agenda:
        deaths = self._deaths(tx)
        unsettled = recoveries.unsettled(tx)
        due = any(each.again_at is not None and each.again_at <= tx.now for each in unsettled if each.host in deaths)
        lately = self.cloud.clock.monotonic() < self._passed_until and _proofs(deaths) == self._passed_proofs
        passed_over = self._passed_over if lately else frozenset[ServerId]()
        return Agenda(deaths, unsettled, due or not self._unplanned(tx, deaths) <= passed_over)

    def _unplanned(self, tx: Tx, deaths: Mapping[HostId, Death]) -> frozenset[ServerId]:
        """Return the servers of dead hosts of which no plan has said anything under the proof that counts."""
        if not deaths:
            return frozenset()
        return recoveries.unplanned(tx, list(deaths), sorted(_proofs(deaths)))

    def _deaths(self, tx: Tx) -> dict[HostId, Death]:
        """Return the lost hosts whose servers are to be recovered; none while the cluster is on hold."""
        if cluster.get(tx).hold is not None:
            return {}
        found = {}
        for host in hosts.lost(tx):
            proof = hosts.proof_of_some(tx, host.id)
            if proof is not None and not_by_itself(self.cloud, host) is None:
                found[host.id] = Death(host, proof)
        return found

    def _mine(self, tx: Tx) -> bool:
        """Say whether the post is still ours: what another decides meanwhile is not decided once more."""
        return posts.holds(tx, POST, self.me.id)

    # --- what has ended ---

    async def _follow(self, agenda: Agenda) -> None:
        """Note what came of evacuations, and which recoveries there is no need for any more."""
        found = await self.cloud.database.read(lambda tx: list(self._ended(tx, agenda)))
        if not found:
            return

        def work(tx: Tx) -> list[Recovery]:
            if not self._mine(tx):
                return []
            return [each for each, state, values in found if recoveries.move(tx, each, state, **values)]

        moved = {each.id for each in await self.cloud.database.transact(work)}
        for each, state, values in found:
            if each.id in moved:
                self._tell(msgspec.structs.replace(each, state=state, **values))

    def _ended(self, tx: Tx, agenda: Agenda) -> Iterable[tuple[Recovery, RecoveryState, dict[str, Any]]]:
        if cluster.get(tx).hold is not None:
            return
        of_hosts = dict.fromkeys(each.host for each in agenda.unsettled)
        lost_by = {host: hosts.proof_of_some(tx, host) for host in of_hosts}
        for each in agenda.unsettled:
            if each.state is RecoveryState.MOVING:
                if (ended := self._came_of(tx, each)) is not None:
                    yield each, *ended
                continue
            # Those of a host at which somebody is at work stand still meanwhile.
            proof = lost_by[each.host]
            if proof is None or proof.id != each.proof:
                reason = f"this proof of host {each.host_name} does not count any more"
                yield each, RecoveryState.OVER, {"reason": reason, "ended_at": tx.now, "again_at": None}

    def _came_of(self, tx: Tx, each: Recovery) -> tuple[RecoveryState, dict[str, Any]] | None:
        """Return what came of an evacuation; None while it is under way."""
        server = servers.get(tx, each.server)
        if server is None:
            return RecoveryState.OVER, {"reason": "the server is gone", "ended_at": tx.now, "again_at": None}
        migration = migrations.get(tx, each.migration) if each.migration is not None else None
        if migration is not None and migration.status in migrations.ACTIVE:
            return None
        if migration is not None and migration.status in ("done", "completed"):
            up_at = max(server.launched_at or "", each.begun_at or "")
            return RecoveryState.UP, {"reached": migration.destination_name, "ended_at": up_at, "reason": ""}
        reason = server.fault.in_full if server.fault else "its evacuation was given up"
        return RecoveryState.FAILED, self._failed(tx, each, reason)

    def _failed(self, tx: Tx, each: Recovery, reason: str) -> dict[str, Any]:
        again = again_at(tx.now, each.attempts, self.cloud.settings.recovery.again)
        return {"reason": reason, "again_at": again, "ended_at": tx.now}

    def _tell(self, each: Recovery) -> None:
        if each.state is RecoveryState.UP:
            self.cloud.measures.note(each)
            log.info("server recovered", server=each.server, old=each.host_name, new=each.reached, up_s=each.up_s)
        else:
            log.warning("server not recovered", server=each.server, state=each.state, reason=each.reason)

    # --- what is planned ---

    async def _plan(self) -> None:
        """Plan for all servers of all dead hosts that are not on their way yet, and write down who comes when."""
        deaths = await self.cloud.database.read(self._deaths)
        before = await self.cloud.database.read(lambda tx: self._unplanned(tx, deaths))
        fleet = _only(await take_picture(self.cloud, frozenset()), frozenset(deaths))
        made = await self._make(fleet)

        def work(tx: Tx) -> bool:
            if not self._mine(tx):
                return False
            # Of others, such as at which somebody has just ended his work, there are no servers in the picture.
            now = {host: death for host, death in self._deaths(tx).items() if host in deaths}
            lacking = dict[HostId, Death]()
            proofs = [death.proof.id for death in now.values()]
            known = {(each.server, each.proof): each for each in recoveries.of_proofs(tx, proofs)}
            for place, step in enumerate(made.steps):
                death = _death_of(step, fleet, now)
                if death is not None:
                    self._note(tx, place, step, fleet, death, known.get((step.server, death.proof.id)))
                    if step.outcome is Outcome.UNPLACEABLE:
                        lacking[death.host.id] = death
            for each in known.values():
                if each.server not in fleet.known and each.state in (RecoveryState.WAITING, *AGAIN):
                    reason = "it lives elsewhere by now, or is gone"
                    recoveries.move(tx, each, RecoveryState.OVER, reason=reason, ended_at=tx.now, again_at=None)
            for death in lacking.values():
                if call_up(self.cloud, tx, death.host, room_lacks=True) is not None:
                    recoveries.look_again(tx, death.proof.id)
            return True

        if await self.cloud.database.transact(work):
            counts = {outcome.value: len(made.of(outcome)) for outcome in Outcome}
            log.warning("recovery planned", hosts=[death.host.name for death in deaths.values()], **counts)
            # None that came to a host, or whose host died, since the picture was taken: of these it could say nothing.
            self._passed_over = before & await self.cloud.database.read(lambda tx: self._unplanned(tx, deaths))
            self._passed_proofs = _proofs(deaths)
            self._passed_until = self.cloud.clock.monotonic() + self.cloud.settings.recovery.again

    async def _make(self, fleet: FleetView) -> Plan:
        settings = self.cloud.settings.recovery
        arguments = fleet, frozenset[HostId](), limits(settings), expected_times(settings)
        if len(fleet.servers) <= self.inline:
            return plan(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._thread, plan, *arguments)

    def _note(self, tx: Tx, place: int, step: Step, fleet: FleetView, death: Death, known: Recovery | None) -> None:
        """Write down what the plan has for a server, unless that is decided already."""
        if known is not None and known.state not in (RecoveryState.WAITING, *AGAIN):
            return
        state, again = _wanted(step, fleet), self.cloud.settings.recovery.again
        if state is RecoveryState.STOPPED and not self._stop(tx, step.server, fleet.known[step.server].place):
            state = RecoveryState.LEFT  # something is being done to it, or it has gone elsewhere since
        if known is not None and known.state is state and state in AGAIN:
            wait = self._failed(tx, known, step.reason)["again_at"]
            recoveries.change(tx, known.id, reason=step.reason, again_at=wait)
            return
        silent_s = _silent_s(death.proof)
        detect_s = self.cloud.settings.lease.suspect_after
        values = {
            "name": step.name,
            "host": death.host.id,
            "host_name": death.host.name,
            "state": state,
            "reason": step.reason,
            "place": place,
            "priority": step.priority,
            "after": step.after,
            "target": fleet.name(step.target) if step.target else None,
            "disks": step.disks,
            "detect_s": None if silent_s is None else min(detect_s, silent_s),
            "prove_s": None if silent_s is None else max(silent_s - detect_s, 0.0),
            "proven_at": death.proof.created_at,
            "planned_at": tx.now,
            "again_at": later(tx.now, again) if state in AGAIN else None,
            "predicted_begun_s": step.begun_s,
            "predicted_up_s": step.done_s,
        }
        if known is None:
            recoveries.add(tx, server=step.server, proof=death.proof.id, attempts=0, **values)
        else:
            recoveries.change(tx, known.id, **values)

    def _stop(self, tx: Tx, server_id: ServerId, place: Place) -> bool:
        """Have the server be stopped, as its guest is, so that it does not start when its host returns."""
        server, right = servers.get(tx, server_id), rights.right(tx, server_id)
        if server is None or server.task_state is not None:
            return False
        if (server.host, right.host if right else None) != (place.host, place.runs_on):
            return False
        if server.vm_state in (VmState.ACTIVE, VmState.PAUSED):
            servers.change(tx, server.id, vm_state=VmState.STOPPED, power_state=PowerState.SHUTDOWN)
            have_ports_follow(self.cloud, tx, server)
        return True

    # --- whose turn it is ---

    async def _begin(self, each: Recovery) -> None:
        """Have the server evacuated, in its owner's name; what is refused is looked at again later."""

        def begin(tx: Tx) -> bool:
            proof = hosts.proof_of_some(tx, each.host)
            host = hosts.get(tx, each.host)
            if not self._mine(tx) or proof is None or proof.id != each.proof:
                return False
            if host is None or not_by_itself(self.cloud, host) is not None:
                return False  # somebody has gone to work there since this was planned
            now = {"begun_at": tx.now, "ended_at": None, "again_at": None, "attempts": each.attempts + 1}
            if not recoveries.move(tx, each, RecoveryState.MOVING, **now):
                return False
            server = get_server(tx, each.server)
            asked = for_owner(server, self.cloud.chance)
            migration = accept_evacuate(self.cloud, tx, asked, server.id, Evacuation(planned=each.target))
            recoveries.change(tx, each.id, migration=migration)
            return True

        def refuse(tx: Tx) -> bool:
            return self._mine(tx) and recoveries.move(tx, each, RecoveryState.FAILED, **self._failed(tx, each, reason))

        try:
            if await self.cloud.database.transact(begin):
                log.info("recovery begins", server=each.server, old=each.host_name, new=each.target)
        except Refused as error:
            reason = whole(error)
            if await self.cloud.database.transact(refuse):
                log.warning("server not recovered", server=each.server, state=RecoveryState.FAILED, reason=reason)


def not_by_itself(cloud: Cloud, host: Host) -> str | None:
    """Say why the servers of a dead host are not recovered by themselves; None when they are."""
    settings = cloud.settings.recovery
    if not settings.automatic:
        return "the setting recovery.automatic is off: evacuate them (`openstack server evacuate`)"
    if host.disabled:
        enable = f"openstack compute service set --enable {host.name} nova-compute"
        return f"its compute service is disabled: somebody is at work there; else `{enable}`, and they are"
    if host.forced_down and not settings.forced_down:
        return "it is forced down: who did that is expected to evacuate them (setting recovery.forced_down)"
    return None


def _proofs(deaths: Mapping[HostId, Death]) -> frozenset[int]:
    return frozenset(death.proof.id for death in deaths.values())


def _only(fleet: FleetView, dead: frozenset[HostId]) -> FleetView:
    """Return the picture with only the servers of these dead hosts to be recovered; others stay in their places."""
    mine = tuple(server for server in fleet.servers if server.place.hosts & dead)
    places = {server.id: server.place for server in fleet.servers}
    return with_other(fleet, servers=mine, places={**places, **fleet.places})


def _death_of(step: Step, fleet: FleetView, deaths: Mapping[HostId, Death]) -> Death | None:
    """Return the death that touches the server, if that counts still."""
    place = fleet.known[step.server].place
    return next((deaths[host] for host in (place.host, place.home) if host is not None and host in deaths), None)


def _wanted(step: Step, fleet: FleetView) -> RecoveryState:
    match step.outcome:
        case Outcome.PLACED:
            return RecoveryState.WAITING
        case Outcome.STOPPED:
            return RecoveryState.STOPPED
        case Outcome.LEFT if fleet.known[step.server].wishes.policy is Policy.LEAVE:
            return RecoveryState.LEFT
    return RecoveryState.FAILED


def _silent_s(proof: Proof) -> float | None:
    """Return for how long the host had been silent when it was proven dead."""
    text = proof.readings.get(PROVEN_AFTER)
    return None if text is None else float(text)
