"""Evacuate a server: its host is dead; another claims it, binds its ports and brings its guest up (spec: evacuate).

Accepted only with a proof that the host is dead, and the grant checks that proof again in its own transaction. The
root disk is kept where the hosts share storage, else made afresh from the image. Host, state and migration become
final in one transaction. The former host owes the clean-up, and is not up again before it has paid.
"""

from contextlib import suppress

import msgspec
from msgspec.structs import replace

from renova.engine.operation import Failure, Run, Story, act, end, write
from renova.model.errors import Broken, Conflict, Invalid, NotFound, NotNow, with_details
from renova.model.host import GuardClass, Host, Lease, ProofKind
from renova.model.ids import HostId, ImageId, ServerId
from renova.model.local_disks import disks_of, has_any
from renova.model.server import AttachedNetwork, Server, TaskState, VmState
from renova.operations.clear_away import have_cleared_away
from renova.operations.cloud import Cloud
from renova.operations.create_image import remove_unfinished_images, unfinished_images
from renova.operations.delete import DELETE
from renova.operations.parts import volumes
from renova.operations.parts.bind_ports import bind_ports
from renova.operations.parts.claim import Claim, claim, give_claim_back
from renova.operations.parts.moving import move_to, note_claimed, note_move, take_back_move
from renova.operations.parts.needs import needs
from renova.operations.parts.notify import notify
from renova.operations.parts.permits import demand_permitted
from renova.operations.parts.run_guest import Built, build, clear, drop_copy, drop_other_disks
from renova.operations.parts.state import close_failed, fault, get_server
from renova.operations.rebuild import leaves_other_disks, take_back_rebuild
from renova.operations.submission import Asked, Submission, submit, supersede
from renova.operations.work import Work
from renova.scheduling.request import Request
from renova.store import actions, cluster, hosts, migrations, restarts, rights, servers, steps
from renova.store.database import Tx
from renova.store.placement import allocations, claims

EVENT = "compute_rebuild_instance"
TYPE = "evacuation"  # of its record, as Nova says it
_REBOOTED_HARD = (TaskState.REBOOTING_HARD, TaskState.REBOOT_PENDING_HARD, TaskState.REBOOT_STARTED_HARD)


class Evacuation(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, already found valid in form."""

    host: str | None = None  # the destination, by name
    forced: bool = False  # without asking whether it is disabled, or in the server's zone
    admin_pass: str | None = None
    on_shared_storage: bool | None = None
    end_stopped: bool = False
    planned: str | None = None  # the host to try first, by name; another will do as well


class EvacuateServer(msgspec.Struct, frozen=True):
    """What the story needs beside the server's row."""

    source: HostId
    source_storage: str
    migration: int
    host: str | None
    forced: bool
    vm_state: VmState
    end_stopped: bool
    admin_pass: str | None
    on_shared_storage: bool | None
    keeping_disks_only: bool
    attempts: int
    unfinished_images: tuple[ImageId, ...] = ()  # that were being made of it
    planned: str | None = None  # the host to try first, by name
    other_disks: bool = False  # a rebuild under way may have made, where it lived


def accept_evacuate(cloud: Cloud, tx: Tx, asked: Asked, server_id: ServerId, evacuation: Evacuation) -> int:
    """Begin the evacuation: whatever else was under way on the server is superseded, another evacuation is not.

    Returns the number of its record among the migrations.
    """
    server = get_server(tx, server_id)
    if evacuation.host is not None:
        if hosts.compute_host_named(tx, evacuation.host) is None:
            raise NotFound(f"Compute host {evacuation.host} could not be found.")
        if evacuation.host == server.host_name:
            raise Invalid("The target host can't be the same one.")
    demand_permitted(server, "evacuate", asked)
    under_way = migrations.active(tx, server.id)
    if under_way is not None and under_way.type == TYPE:
        raise Conflict(f"Cannot 'evacuate' instance {server.id}: another evacuation of it is under way")
    source = _dead_source(cloud, tx, server)
    other_disks = leaves_other_disks(tx, server.id)
    take_back_rebuild(tx, server.id)
    unfinished = unfinished_images(tx, server.id)
    reason = "superseded: the server is being evacuated"
    supersede(tx, cloud.operations, server.id, reason, at_once=True, sparing=(DELETE,))
    take_back_move(cloud, tx, server)
    proof = hosts.proof_of_some(tx, source.id)
    migration = note_move(cloud, tx, asked, server, source, TYPE, "accepted", to=evacuation.host, proof=proof)
    servers.change(tx, server.id, task_state=TaskState.REBUILDING)
    notify(cloud, tx, server.id, "instance.evacuate")
    want = EvacuateServer(
        source=source.id,
        source_storage=source.facts.storage_id if source.facts else "",
        migration=migration,
        host=evacuation.host,
        forced=evacuation.forced,
        vm_state=server.vm_state,
        end_stopped=evacuation.end_stopped,
        admin_pass=evacuation.admin_pass,
        on_shared_storage=evacuation.on_shared_storage,
        keeping_disks_only=cloud.settings.evacuate_keeping_disks_only,
        attempts=1 if evacuation.host else cloud.settings.create_attempts,
        unfinished_images=unfinished,
        planned=evacuation.planned,
        other_disks=other_disks,
    )
    held = submit(tx, cloud.operations, asked, server.id, Submission(EVACUATE, "evacuate", want))
    actions.open_event(tx, held.action, "rebuild_server", None)
    _have_crash_outlast(tx, server)
    return migration


def _have_crash_outlast(tx: Tx, before: Server) -> None:
    """Have a guest that crashed, and is to be started again, be so where it goes: by this it only goes there.

    Also where that had begun and is cut off by this: it is its first operation since, and a hard reboot.
    """
    crash = restarts.get(tx, before.id) if before.vm_state is VmState.STOPPED else None
    if crash is None:
        return
    number = get_server(tx, before.id).last_number
    if crash.pending:
        restarts.outlast(tx, before.id, number)
    elif before.task_state in _REBOOTED_HARD and crash.number == number - 2:
        restarts.take_up_again(tx, crash, number)


def _dead_source(cloud: Cloud, tx: Tx, server: Server) -> Host:
    """Return the server's host, if it is down and proven dead; else refuse as Nova does, and say what is missing."""
    standing = cluster.get(tx)
    if standing.hold is not None:
        raise Conflict(f"Cannot 'evacuate' instance {server.id}: the cluster is on hold: {standing.hold}")
    source = hosts.get(tx, server.host) if server.host else None
    if source is None:
        raise Conflict(f"Cannot 'evacuate' instance {server.id}: it has no host")
    if cloud.hosts.up(source.id):
        reason = "it is forced down but still renews its lease" if source.forced_down else "it is up"
        raise Invalid(f"Compute service of {source.name} is still in use: {reason}.")
    right = rights.right(tx, server.id)
    # Usually the source; after an evacuation that failed, the destination whose stop nobody has confirmed yet.
    holder = source if right and right.host == source.id else hosts.get(tx, right.host) if right else None
    if holder is None or rights.has_ended(tx, server.id, right):
        return source
    silence = cloud.hosts.leases.silent_for(holder.id) or 0.0
    raise Invalid(
        f"Compute service of {holder.name} is still in use: it has been silent for {silence:.0f} s, but nothing proves "
        f"that its guests have stopped. {missing_proof(cloud, tx, holder, silence)}"
    )


def missing_proof(cloud: Cloud, tx: Tx, host: Host, silent_s: float) -> str:
    """Say what would prove the silent host dead, of the kinds that count here, and when."""
    accepted = cloud.settings.accepted_proofs
    ways = []
    if ProofKind.POWER_OFF in accepted:
        barred = f" (not believed of this host: {host.power_barred})" if host.power_barred else ""
        ways.append(f"switch its power off where its power can be read{barred}")
        if cloud.hosts.sighted(host.id).alive and cloud.settings.fencing and not cloud.settings.fence_isolated:
            ways[-1] += ", which is not done by itself while others see that it lives (setting fence_isolated)"
    lease = hosts.lease(tx, host.id)
    left = max((lease.ttl + lease.margin if lease else 0.0) - silent_s, 0.0)
    if ProofKind.OPERATOR in accepted:
        ways.append(
            f"or once you have seen that it is off `renova host vouch {host.name}`, or force its service down, which "
            f"counts once its lease has lapsed, in {left:.0f} s"
        )
    if ProofKind.HEARTBEAT_AGE in accepted:
        wait = max(cloud.settings.heartbeat_age - silent_s, left)
        ways.append(f"or wait {wait:.0f} s, after which its silence is accepted as setting accepted_proofs says")
    if (braked := cluster.get(tx).brake) is not None and ways:
        ways.append(f"but first see whether it is the hosts that are dead, and `renova brake release`: {braked}")
    way = ", ".join(ways) or "no kind of proof is accepted (setting accepted_proofs)"
    return f"{way[0].upper()}{way[1:]}. {_lease_words(cloud, host, lease, left)}"


def _lease_words(cloud: Cloud, host: Host, lease: Lease | None, left: float) -> str:
    """Say whether the host's lease will prove it dead, when, and why not (safety protocol, section 7)."""
    settings, guard = cloud.settings, lease.guard if lease else GuardClass.NONE
    if lease is not None and lease.cut:
        return "Its lease is revoked, which counts only for servers whose disks are all volumes: storage cuts them off."
    weak = guard in (GuardClass.B, GuardClass.C)
    virtual = guard is GuardClass.V and settings.accept_virtual_guard
    guarded = ProofKind.LEASE_REVOKED in settings.accepted_proofs and (guard is GuardClass.A or weak or virtual)
    if ProofKind.STORAGE_CUT in settings.accepted_proofs and not guarded:
        if cloud.hosts.sighted(host.id).alive and not settings.fence_isolated:
            return "Its lease is not revoked while others see that it lives (setting fence_isolated)."
        return (
            f"In {left:.0f} s its lease is revoked, for servers whose disks are all volumes: storage cuts them off. "
            "All others need another proof."
        )
    if guard is GuardClass.NONE:
        return "Its lease alone will never prove it: no armed guard runs there, so nothing stops its guests."
    if ProofKind.LEASE_REVOKED not in settings.accepted_proofs:
        return "Its lease proves nothing here (setting accepted_proofs), though its guard is armed."
    if weak and not settings.accept_weak_guard:
        return (
            f"Its lease alone proves it only for servers whose disks are all volumes: its guard is of class {guard}, "
            "and a host that stood still as a whole could wake and write what storage does not cut off. The others "
            "need power off, or setting accept_weak_guard."
        )
    if guard is GuardClass.V and not settings.accept_virtual_guard:
        return "Its lease alone will never prove it: it is a virtual machine, whose clocks can be stopped from outside."
    if lease is not None and lease.witness:
        further = lease.ttl + lease.margin
        begun = "Its lease is revoked" if lease.revoked else f"Else its lease is revoked in {left:.0f} s"
        return (
            f"{begun}; its guard of class {guard} goes by the witness, and has stopped its guests {further:.0f} s "
            "after that shows it."
        )
    return f"Else its lease is revoked in {left:.0f} s, and its guard of class {guard} has stopped its guests by then."


async def evacuate_server(run: Run, want: EvacuateServer) -> None:
    if want.unfinished_images:
        await run(remove_unfinished_images, want.unfinished_images)
    failed: tuple[HostId, ...] = ()
    last = None
    for _attempt in range(want.attempts):
        taken = await run(claim_destination, want, failed, last)
        networks = await run(bind_ports, taken.name)
        await run(note_spawning, want)
        built = await run(build_guest, want, taken)
        if built.refused is None:
            await run(move_server, want, taken, networks, built)
            return
        last = built
        failed = (*failed, taken.host)
        await run(give_back, want, taken)
    await run(give_up, want, last)


@write()
def claim_destination(
    work: Work, tx: Tx, want: EvacuateServer, failed: tuple[HostId, ...], last: Built | None
) -> Claim:
    """Claim another host beside the dead one's allocation, and grant it the server: the dead one's right ends here."""
    server = work.server_now(tx)
    request = needs(
        work.cloud,
        tx,
        server,
        leaving=want.source,
        only=want.host,
        forced=want.forced,
        not_on=frozenset((want.source, *failed)),
    )
    request = evacuated(
        request, server, want.source_storage, keeping_disks_only=want.keeping_disks_only, share=want.on_shared_storage
    )
    taken = _claim_planned(work, tx, server, request, want) if want.planned and not failed else None
    if taken is None:
        taken = claim(work, tx, server, request, migration=want.migration, failed=last)
    if want.on_shared_storage is False and _shared(want, taken):
        raise Conflict("Invalid state of instance files on shared storage: the host shares them.")
    note_claimed(tx, want.migration, "pre-migrating", taken)
    outcome = _outcome(want, taken, server)
    if last is not None:
        actions.fail_event(tx, work.held.action, EVENT, with_details(last.refused or "", last.details))
    else:
        actions.close_events(tx, work.held.action, event="rebuild_server", details=outcome)
    actions.open_event(tx, work.held.action, EVENT, taken.name, outcome)
    for event in ("instance.rebuild_scheduled", "instance.exists", "instance.rebuild.start"):
        notify(work.cloud, tx, server.id, event, host=taken.name)
    servers.change(tx, server.id, task_state=TaskState.REBUILD_BLOCK_DEVICE_MAPPING)
    return taken


def _claim_planned(work: Work, tx: Tx, server: Server, request: Request, want: EvacuateServer) -> Claim | None:
    """Claim the host that a plan has for the server; None where that will not do any more."""
    with suppress(Conflict, NotNow):
        return claim(work, tx, server, replace(request, only=want.planned), migration=want.migration)
    return None


def evacuated(
    request: Request, server: Server, source_storage: str, *, keeping_disks_only: bool, share: bool | None = None
) -> Request:
    """Return what the server needs of a host that is to make it anew from what its dead one left.

    With `share` that host has to share the dead one's storage, whatever the server has on it; `keeping_disks_only`
    demands the same of those with disks there.
    """
    must_share = share or (keeping_disks_only and has_any(disks_of(server)))
    return replace(request, storage=source_storage if must_share else None, evacuated=True)


def _outcome(want: EvacuateServer, taken: Claim, server: Server) -> str:
    """Say what becomes of the server's disks and of the password asked for: kept with the action, for whoever reads."""
    if not has_any(disks_of(server)):
        disks = f"The server has no disks on a host; it goes to {taken.name}."
    elif _shared(want, taken):
        disks = f"The server's disks are kept: {taken.name} shares the storage of its former host."
    else:
        disks = (
            f"The server's disks are made anew on {taken.name}, which does not share the storage of its former host: "
            "what was on them is lost."
        )
    if want.admin_pass is None:
        return disks
    if _shared(want, taken):
        return f"{disks} The adminPass is not applied: the disk with the former one is kept."
    return f"{disks} The adminPass is given to the new guest by its config drive."


@claim_destination.undo_write
def release_claim(work: Work, tx: Tx, want: EvacuateServer, failed: tuple[HostId, ...], last: Built | None) -> None:
    """End the destination's right. The source's does not come back: it ended when the destination got its own."""
    right = rights.right(tx, work.held.server)
    if right is not None and right.host != want.source:
        give_claim_back(work, tx, right, built=steps.has_done(tx, work.held, note_spawning.name))


def _ends_stopped(want: EvacuateServer) -> bool:
    """Say whether the server is stopped in the end; one in ERROR is brought up, also from 2.95 on, as in Nova."""
    return want.vm_state is VmState.STOPPED or (want.end_stopped and want.vm_state is VmState.ACTIVE)


def _shared(want: EvacuateServer, taken: Claim) -> bool:
    """Say whether source and destination share their instances directory: by its identity, not by looking for files."""
    return bool(taken.storage) and taken.storage == want.source_storage


@write()
def note_spawning(work: Work, tx: Tx, want: EvacuateServer) -> None:
    servers.change(tx, work.held.server, task_state=TaskState.REBUILD_SPAWNING)


@act()
async def build_guest(work: Work, want: EvacuateServer, taken: Claim) -> Built:
    """Bring the guest up at the destination: on the disk it has, where storage is shared, else on a fresh one."""
    shared = _shared(want, taken)
    for image in want.unfinished_images if shared else ():
        await drop_copy(work, taken.host, taken.incarnation, image)
    admin_pass = None if shared else want.admin_pass
    run = not _ends_stopped(want)
    await volumes.reconcile(work)
    built = await build(work, taken.host, taken.incarnation, admin_pass, must_exist=shared, run=run)
    if built.refused is None and shared:
        # A rebuild that was cut off may have left another one.
        await drop_other_disks(work, taken.host, taken.incarnation, (await work.server()).root_generation)
    return built


@build_guest.undo
async def clear_guest(work: Work, want: EvacuateServer, taken: Claim) -> None:
    """Have nothing left at the destination; the disk that was there before this attempt stays."""
    await clear(work, taken.host, taken.incarnation, disks=not _shared(want, taken))
    await volumes.disconnect_others(work, want.source)


@act()
async def give_back(work: Work, want: EvacuateServer, taken: Claim) -> None:
    """Have the destination end what it began: only then may another be tried."""
    await clear(work, taken.host, taken.incarnation, disks=not _shared(want, taken))

    def may_live(tx: Tx) -> bool:
        server = work.held.server
        return rights.owes(tx, taken.host, server) and rights.ended_by(tx, server, taken.host) is None

    if await work.cloud.database.read(may_live):
        details = f"host {taken.name}"
        raise Broken("a host failed, and has not confirmed its stop: no other is tried before", details=details)


@write()
def give_up(work: Work, tx: Tx, want: EvacuateServer, last: Built | None) -> None:
    """Fail with the last destination's reason."""
    reason, details = (last.refused or "", last.details) if last else ("", "")
    raise Broken(reason, details=details)


@end()
def move_server(
    work: Work, tx: Tx, want: EvacuateServer, taken: Claim, networks: tuple[AttachedNetwork, ...], built: Built
) -> None:
    """Switch host, state and migration together: nobody ever sees the server finished on its dead host."""
    stopped = _ends_stopped(want)
    vm_state = VmState.STOPPED if stopped else VmState.ACTIVE
    move_to(work, tx, taken, vm_state=vm_state, power_state=built.power, launched_at=tx.now, networks=networks)
    notify(work.cloud, tx, work.held.server, "instance.rebuild.end")
    # A source that came back and cleaned up meanwhile holds nothing any more: then all is completed. But disks of its
    # own it was told to keep, for the server still lived there.
    if not _shared(want, taken) and hosts.get(tx, want.source) is not None:
        rights.owe(tx, want.source, work.held.server, taken.incarnation, want.migration)
    clean = not rights.owes(tx, want.source, work.held.server)
    if clean:
        claims.release(tx, work.held.server, want.source)
    migrations.move(tx, want.migration, ("pre-migrating",), "completed" if clean else "done")
    if stopped:
        # As in Nova, although nothing had to be stopped: its guest was never started.
        actions.open_event(tx, work.held.action, "compute_stop_instance", taken.name)
    actions.close_events(tx, work.held.action)


def settle_evacuate(work: Work, tx: Tx, want: EvacuateServer, failure: Failure) -> None:
    """Leave the server where and as it was, with the reason; a failed evacuation's record is final at once."""
    unscheduled = migrations.move(tx, want.migration, ("accepted",), "error")
    migrations.move(tx, want.migration, ("pre-migrating",), "failed")
    for allocation in allocations.held(tx, work.held.server):
        if allocation.provider != want.source and not rights.owes(tx, allocation.provider, work.held.server):
            claims.release(tx, work.held.server, allocation.provider)
    work.cloud.fleet.stale()
    servers.change(tx, work.held.server, task_state=None, fault=fault(tx, failure))
    event = "compute_task.rebuild_server.error" if unscheduled else "instance.rebuild.error"
    notify(work.cloud, tx, work.held.server, event, failure)
    close_failed(tx, work.held.action, failure)
    # Only a destination that shares the storage has deleted any of it: else that is where the server still lives.
    have_cleared_away(work.cloud, tx, work.server_now(tx), want.unfinished_images, other_disks=want.other_disks)
    # A host that came back meanwhile has cleaned up, and would have the server again: it is looked at anew.
    tx.then(lambda: work.cloud.hosts.on_up(want.source))


EVACUATE = Story("evacuate", 1, EvacuateServer, evacuate_server, settle_evacuate)
